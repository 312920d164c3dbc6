// Arrays of the caller, looked at where they lie: anything with the buffer protocol (numpy) or with
// __dlpack__ (torch, jax, numpy). Nothing is copied; what does not fit is refused by name.
#pragma once

#include <string>

#include "core.h"
#include "dlpack.h"

namespace mm2::python {

enum class Element { f32, bf16, f16, i32, u8 };

class Tensor {
 public:
  /// `name` is for messages.
  Tensor(const py::object& from, const char* name);

  /// Data of this type; read-only arrays are refused by mutable_*.
  const float* floats() const { return static_cast<const float*>(need(Element::f32)); }
  float* mutable_floats() const { return static_cast<float*>(writable(Element::f32)); }
  const int32_t* ints() const { return static_cast<const int32_t*>(need(Element::i32)); }
  int32_t* mutable_ints() const { return static_cast<int32_t*>(writable(Element::i32)); }
  const uint8_t* bytes() const { return static_cast<const uint8_t*>(need(Element::u8)); }
  const void* data() const { return data_; }
  Element element() const { return element_; }

  /// Extents; every one fits into 31 bits.
  int32_t size(size_t dimension) const { return static_cast<int32_t>(shape_[dimension]); }
  /// Throws ValueError unless these are the extents; -1 stands for any.
  void need_shape(const std::vector<int64_t>& wanted) const;

 private:
  bool read_buffer(const py::object& from);
  void read_dlpack(const py::object& from);
  void check_rows(const std::vector<int64_t>& strides, int64_t element) const;
  const void* need(Element wanted) const;
  void* writable(Element wanted) const;
  [[noreturn]] void refuse(const std::string& why) const;

  const char* name_;
  Element element_ = Element::f32;
  void* data_ = nullptr;
  bool read_only_ = false;
  std::vector<int64_t> shape_;
  py::buffer_info buffer_;  // what keeps the memory: one of the two
  py::object capsule_;
};

}  // namespace mm2::python
