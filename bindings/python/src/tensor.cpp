#include "tensor.h"

namespace mm2::python {
namespace {

const char* name_of(Element element) {
  constexpr const char* kNames[] = {"float32", "bfloat16", "float16", "int32", "uint8"};
  return kNames[static_cast<int>(element)];
}

}  // namespace

Tensor::Tensor(const py::object& from, const char* name) : name_(name) {
  if (!read_buffer(from)) read_dlpack(from);
  constexpr uintptr_t kBytes[] = {4, 2, 2, 4, 1};
  if (reinterpret_cast<uintptr_t>(data_) % kBytes[static_cast<int>(element_)] != 0) {
    refuse("its elements do not lie at multiples of their size");
  }
  for (const int64_t extent : shape_) {
    if (extent < 0 || extent > INT32_MAX) refuse("an extent does not fit into 31 bits");
  }
}

void Tensor::refuse(const std::string& why) const {
  throw py::value_error(std::string(name_) + ": " + why);
}

bool Tensor::read_buffer(const py::object& from) {
  if (PyObject_CheckBuffer(from.ptr()) == 0) return false;
  buffer_ = py::reinterpret_borrow<py::buffer>(from).request();
  const std::string& format = buffer_.format;
  if (format == "f")
    element_ = Element::f32;
  else if (format == "e")
    element_ = Element::f16;
  else if (format == "H")
    element_ = Element::bf16;  // numpy has none: their bits as uint16
  else if (format == "i" || (format == "l" && buffer_.itemsize == 4))
    element_ = Element::i32;
  else if (format == "B")
    element_ = Element::u8;
  else
    throw py::type_error(std::string(name_) + ": no operation takes elements of format '" + format +
                         "'");
  data_ = buffer_.ptr;
  read_only_ = buffer_.readonly;
  shape_.assign(buffer_.shape.begin(), buffer_.shape.end());
  check_rows({buffer_.strides.begin(), buffer_.strides.end()}, buffer_.itemsize);
  return true;
}

void Tensor::read_dlpack(const py::object& from) {
  if (!py::hasattr(from, "__dlpack__")) {
    throw py::type_error(std::string(name_) + ": neither an array nor a DLPack tensor");
  }
  if (from.attr("__dlpack_device__")().cast<py::tuple>()[0].cast<int>() != kDlCpu) {
    refuse("the tensor is not in host memory");
  }
  // Not renamed: the capsule releases the tensor when this object lets it go.
  capsule_ = from.attr("__dlpack__")();
  auto* managed = static_cast<DlManaged*>(PyCapsule_GetPointer(capsule_.ptr(), "dltensor"));
  if (managed == nullptr) throw py::error_already_set();
  const DlTensor& tensor = managed->tensor;
  const auto is = [&](DlCode code, int bits) {
    return tensor.type.code == code && tensor.type.bits == bits && tensor.type.lanes == 1;
  };
  if (is(kDlFloat, 32))
    element_ = Element::f32;
  else if (is(kDlFloat, 16))
    element_ = Element::f16;
  else if (is(kDlBfloat, 16))
    element_ = Element::bf16;
  else if (is(kDlInt, 32))
    element_ = Element::i32;
  else if (is(kDlUInt, 8))
    element_ = Element::u8;
  else
    throw py::type_error(std::string(name_) + ": no operation takes its elements");
  data_ = static_cast<char*>(tensor.data) + tensor.byte_offset;
  shape_.assign(tensor.shape, tensor.shape + tensor.n_dims);
  if (tensor.strides != nullptr) {
    check_rows({tensor.strides, tensor.strides + tensor.n_dims}, 1);
  }
}

// element: what a stride counts one element as.
void Tensor::check_rows(const std::vector<int64_t>& strides, int64_t element) const {
  int64_t expected = element;
  for (size_t i = shape_.size(); i-- > 0;) {
    if (shape_[i] > 1 && strides[i] != expected) refuse("its rows must lie one after the other");
    expected *= shape_[i];
  }
}

const void* Tensor::need(Element wanted) const {
  if (element_ == wanted) return data_;
  throw py::type_error(std::string(name_) + ": elements are " + name_of(element_) + ", " +
                       name_of(wanted) + " is needed");
}

void* Tensor::writable(Element wanted) const {
  need(wanted);
  if (read_only_) refuse("is read-only");
  return data_;
}

void Tensor::need_shape(const std::vector<int64_t>& wanted) const {
  bool same = shape_.size() == wanted.size();
  for (size_t i = 0; same && i < wanted.size(); ++i) {
    same = wanted[i] < 0 || shape_[i] == wanted[i];
  }
  if (same) return;
  const auto text = [](const std::vector<int64_t>& shape) {
    std::string joined;
    for (const int64_t n : shape)
      joined += (joined.empty() ? "" : ", ") + (n < 0 ? "any" : std::to_string(n));
    return "[" + joined + "]";
  };
  refuse("has shape " + text(shape_) + ", wanted is " + text(wanted));
}

}  // namespace mm2::python
