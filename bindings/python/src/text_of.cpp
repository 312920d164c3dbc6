// Arguments in, text out.
#include "core.h"

namespace mm2::python {

std::string_view bytes_of(py::handle text) {
  if (PyBytes_Check(text.ptr())) {
    return {PyBytes_AS_STRING(text.ptr()), static_cast<size_t>(PyBytes_GET_SIZE(text.ptr()))};
  }
  if (!PyUnicode_Check(text.ptr())) throw py::type_error("text must be str or bytes");
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (data == nullptr) throw py::error_already_set();
  return {data, static_cast<size_t>(size)};
}

py::str to_str(std::string_view text) {
  PyObject* made =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(made);
}

int64_t integer_of(py::handle number, std::string_view name, int64_t low, int64_t high) {
  // Not int(number): a float must not pass for an integer.
  const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(number.ptr()));
  if (!index) throw py::error_already_set();
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow != 0 || value < low || value > high) {
    throw py::value_error(std::string(name) + " is " + py::str(index).cast<std::string>() +
                          ", allowed are " + std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

float float_of(py::handle number) {
  const double value = PyFloat_AsDouble(number.ptr());
  if (value == -1.0 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return static_cast<float>(value);
}

namespace {

int32_t id_of(py::handle number) {
  return int32_of(number, "a token id");
}

bool is_int32_vector(const py::buffer_info& info) {
  return info.ndim == 1 && info.itemsize == 4 && info.strides[0] == 4 &&
         (info.format == "i" || info.format == "l");
}

}  // namespace

std::vector<int32_t> ids_of(py::handle tokens) {
  if (PyLong_Check(tokens.ptr())) return {id_of(tokens)};
  if (PyObject_CheckBuffer(tokens.ptr()) != 0 && !PyBytes_Check(tokens.ptr())) {
    const py::buffer_info info = py::reinterpret_borrow<py::buffer>(tokens).request();
    if (is_int32_vector(info)) {
      const auto* data = static_cast<const int32_t*>(info.ptr);
      return {data, data + info.size};
    }
    if (info.ndim == 0) return {id_of(tokens)};
    if (info.ndim != 1) throw py::value_error("token ids must have one dimension");
  }
  std::vector<int32_t> ids;
  if (PyList_CheckExact(tokens.ptr()) != 0) ids.reserve(py::len(tokens));
  for (const py::handle token : py::reinterpret_borrow<py::iterable>(tokens)) {
    ids.push_back(id_of(token));
  }
  return ids;
}

}  // namespace mm2::python
