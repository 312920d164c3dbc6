// What the parts of mm2._core share. The module is written against include/mm2 alone: mm2.hpp owns
// handles and throws mm2::Error, which errors.cpp turns into the Python exceptions of mm2/_errors.py.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <mm2/mm2.hpp>

namespace py = pybind11;

namespace mm2::python {

void bind_errors(py::module_& m);
void bind_model(py::module_& m);
void bind_logits(py::module_& m);
void bind_engine(py::module_& m);
void bind_sampler(py::module_& m);
void bind_text(py::module_& m);
void bind_parser(py::module_& m);
void bind_tools(py::module_& m);

/// The Python exception of this error, set; the caller throws py::error_already_set.
void set_python_error(const mm2_error& error);
void set_python_error(const mm2::Error& error);

/// UTF-8 of a str, the bytes of a bytes object: borrowed as long as the object lives.
std::string_view bytes_of(py::handle text);

/// Text that came out of the library; what is not UTF-8 becomes U+FFFD.
py::str to_str(std::string_view text);

/// An integer that fits, or TypeError and ValueError that name it.
int64_t integer_of(py::handle number, std::string_view name, int64_t low, int64_t high);
inline int32_t int32_of(py::handle number, std::string_view name) {
  return static_cast<int32_t>(integer_of(number, name, INT32_MIN, INT32_MAX));
}
/// A float, or TypeError.
float float_of(py::handle number);

/// Token ids from an int, any sequence of ints, or an array of integers.
std::vector<int32_t> ids_of(py::handle tokens);

}  // namespace mm2::python
