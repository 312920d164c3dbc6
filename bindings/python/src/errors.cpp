// mm2::Error as Python exceptions. The classes are Python (mm2/_errors.py): several of them have two
// bases, and users read them there.
#include "core.h"

namespace mm2::python {
namespace {

/// A str of the message; a C string of the ABI is UTF-8 and cut at a whole character.
py::object exception_of(const mm2_error& error) {
  const py::object make = py::module_::import("mm2._errors").attr("from_status");
  return make(error.code, to_str(error.message), error.domain, error.native_code);
}

}  // namespace

void set_python_error(const mm2_error& error) {
  const py::object made = exception_of(error);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(made.ptr())), made.ptr());
}

void set_python_error(const mm2::Error& e) {
  mm2_error error;
  mm2_error_init(&error, sizeof error);
  error.code = e.code();
  error.domain = e.domain();
  error.native_code = e.native_code();
  std::string_view(e.what()).copy(error.message, sizeof error.message - 1);
  set_python_error(error);
}

void bind_errors(py::module_&) {
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const mm2::Error& e) {
      set_python_error(e);
    }
  });
}

}  // namespace mm2::python
