// Methods that run once for every token. A step drives the interpreter out of the inner caches, and
// pybind11's dispatcher touches a hundred lines of memory to call a method; a plain function of CPython
// touches a few. Only the way in and out differs: what they call is the same C++.
#pragma once

#include "core.h"

namespace mm2::python {

/// The C++ object of an instance of a class of this module, or of a class derived from it in Python.
template <typename T>
T& object_of(PyObject* instance) {
  auto* const bound = reinterpret_cast<py::detail::instance*>(instance);
  return *static_cast<T*>(bound->get_value_and_holder().value_ptr());
}

template <typename T>
bool is_object_of(PyObject* object) {
  static PyObject* const type = py::type::of<T>().release().ptr();  // lives as long as the module
  auto* const its = Py_TYPE(object);
  return its == reinterpret_cast<PyTypeObject*>(type) ||
         PyType_IsSubtype(its, reinterpret_cast<PyTypeObject*>(type)) != 0;
}

/// An argument of this class, or TypeError.
template <typename T>
T& argument_of(py::handle argument, const char* name) {
  if (is_object_of<T>(argument.ptr())) return object_of<T>(argument.ptr());
  throw py::type_error(std::string(name) + ": an object of type " +
                       py::type::of<T>().attr("__name__").template cast<std::string>() +
                       " is needed, not of " + Py_TYPE(argument.ptr())->tp_name);
}

/// What a call was given: positions first, then keywords.
class Arguments {
 public:
  Arguments(PyObject* const* values, Py_ssize_t n, PyObject* keywords)
      : values_(values), n_(n), keywords_(keywords) {}

  /// The argument at a position (-1: keywords only) or of this name; null where it is absent.
  PyObject* find(Py_ssize_t position, const char* name) {
    PyObject* found = position >= 0 && position < n_ ? values_[position] : nullptr;
    n_found_ += found == nullptr ? 0 : 1;
    if (keywords_ == nullptr) return found;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keywords_); ++i) {
      if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords_, i), name) != 0) continue;
      if (found != nullptr) throw py::type_error(std::string(name) + " is given twice");
      found = values_[n_ + i];
      ++n_found_;
    }
    return found;
  }
  py::handle need(Py_ssize_t position, const char* name) {
    PyObject* found = find(position, name);
    if (found == nullptr) throw py::type_error(std::string(name) + " is missing");
    return found;
  }
  bool flag(const char* name) {
    PyObject* found = find(-1, name);
    const int truth = found == nullptr ? 0 : PyObject_IsTrue(found);
    if (truth < 0) throw py::error_already_set();
    return truth != 0;
  }
  /// After all of them were asked for.
  void finish() const {
    const Py_ssize_t given = n_ + (keywords_ == nullptr ? 0 : PyTuple_GET_SIZE(keywords_));
    if (n_found_ != given) throw py::type_error("an argument that this method does not take");
  }

 private:
  PyObject* const* values_;
  Py_ssize_t n_, n_found_ = 0;
  PyObject* keywords_;
};

/// PyObject* method(T&, Arguments&) as CPython calls it; what it throws becomes Python's exception.
template <typename T, py::object (*method)(T&, Arguments&)>
PyObject* quick(PyObject* self, PyObject* const* values, Py_ssize_t n, PyObject* keywords) {
  try {
    Arguments arguments(values, n, keywords);
    return method(object_of<T>(self), arguments).release().ptr();
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const py::builtin_exception& e) {
    e.set_error();
  } catch (const mm2::Error& e) {
    set_python_error(e);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
  return nullptr;
}

/// Adds it to a class.
template <typename T, py::object (*method)(T&, Arguments&)>
void add_quick(const py::handle& type, const char* name) {
  static PyMethodDef definition = {
      name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&quick<T, method>)),
      METH_FASTCALL | METH_KEYWORDS, nullptr};
  const auto made = py::reinterpret_steal<py::object>(
      PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), &definition));
  if (!made) throw py::error_already_set();
  py::setattr(type, name, made);
}

}  // namespace mm2::python
