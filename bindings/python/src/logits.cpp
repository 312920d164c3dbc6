#include "logits.h"

#include <pybind11/numpy.h>

#include <algorithm>

#include "dlpack.h"

namespace mm2::python {

std::shared_ptr<LogitsBuffer> LogitsPool::take(size_t n_floats) {
  const auto is_free = [](const auto& buffer) { return buffer.use_count() == 1; };
  // One that nobody looks at any more: so it is from step to step where nobody keeps arrays.
  if (buffers_.size() == 1 && is_free(buffers_.front()) && buffers_.front()->capacity >= n_floats) {
    return buffers_.front();
  }
  auto found = std::find_if(buffers_.begin(), buffers_.end(), is_free);
  if (found == buffers_.end()) found = buffers_.insert(found, std::make_shared<LogitsBuffer>());
  const std::shared_ptr<LogitsBuffer> buffer = *found;
  if (buffer->capacity < n_floats) {
    buffer->data.reset(new float[n_floats]);
    buffer->capacity = n_floats;
  }
  // Free ones beyond a few are given back: they were views that somebody held for a while.
  size_t spare = 0;
  buffers_.erase(std::remove_if(buffers_.begin(), buffers_.end(),
                                [&](const auto& b) { return b.use_count() == 1 && ++spare > 4; }),
                 buffers_.end());
  return buffer;
}

Logits::Logits(std::shared_ptr<LogitsBuffer> buffer, std::shared_ptr<const LogitsPool> pool,
               int64_t rows, int64_t vocab, bool keep, std::vector<mm2_status> status)
    : n_rows(rows),
      n_vocab(vocab),
      row_status(std::move(status)),
      buffer_(buffer),
      kept_(keep ? std::move(buffer) : nullptr),
      pool_(std::move(pool)),
      step_(pool_->n_steps) {}

bool Logits::is_valid() const {
  return kept_ != nullptr || pool_->n_steps == step_;
}

std::shared_ptr<LogitsBuffer> Logits::lease() const {
  // The step is compared first: a buffer may still exist, with the numbers of another step.
  std::shared_ptr<LogitsBuffer> buffer = is_valid() ? buffer_.lock() : nullptr;
  if (buffer != nullptr) return buffer;
  const py::object stale = py::module_::import("mm2._errors").attr("StaleLogits");
  PyErr_SetString(stale.ptr(),
                  "these logits belong to a step that is over, the engine has begun another one; "
                  "step(..., keep=True) keeps them");
  throw py::error_already_set();
}

namespace {

using Lease = std::shared_ptr<LogitsBuffer>;

/// An array that keeps the numbers alive. It may be written to: the buffer is nobody else's by then
/// but this object's.
py::array array_of(const Logits& logits, int64_t first_row, std::vector<py::ssize_t> shape) {
  auto lease = std::make_unique<Lease>(logits.lease());
  const float* data = (*lease)->data.get() + first_row * logits.n_vocab;
  const py::capsule owner(lease.release(), [](void* p) { delete static_cast<Lease*>(p); });
  return py::array_t<float>(std::move(shape), data, owner);
}

py::array all_of(const Logits& logits) {
  return array_of(logits, 0, {logits.n_rows, logits.n_vocab});
}

py::array row_of(const Logits& logits, int64_t row) {
  const int64_t i = row < 0 ? row + logits.n_rows : row;
  if (i < 0 || i >= logits.n_rows) {
    throw py::index_error("row " + std::to_string(row) + " of " + std::to_string(logits.n_rows));
  }
  return array_of(logits, i, {logits.n_vocab});
}

py::object dlpack_of(const Logits& logits, const py::object& max_version, const py::object& device,
                     const py::object& copy) {
  if (!device.is_none() && !device.equal(py::make_tuple(kDlCpu, 0))) {
    throw py::buffer_error("logits are in host memory, device (1, 0)");
  }
  const bool versioned = !max_version.is_none() && max_version[py::int_(0)].cast<int>() >= 1;
  Lease lease = logits.lease();
  if (!copy.is_none() && copy.cast<bool>()) {
    const auto n = static_cast<size_t>(logits.n_rows * logits.n_vocab);
    const float* from = lease->data.get();
    lease = std::make_shared<LogitsBuffer>(LogitsBuffer{std::make_unique<float[]>(n), n});
    std::copy_n(from, n, lease->data.get());
  }
  void* data = lease->data.get();
  return export_dlpack(std::move(lease), data, {logits.n_rows, logits.n_vocab}, versioned);
}

}  // namespace

void bind_logits(py::module_& m) {
  using namespace py::literals;
  // pybind11 imports numpy at the first array, under a lock that another thread may want while it
  // holds the interpreter's: so the first one is made here.
  const py::array_t<float> first(0);
  py::class_<Logits>(m, "Logits")
      .def_property_readonly("shape",
                             [](const Logits& l) { return py::make_tuple(l.n_rows, l.n_vocab); })
      .def_property_readonly("valid", &Logits::is_valid)
      .def_property_readonly("row_status", [](const Logits& l) { return l.row_status; })
      .def("numpy", &all_of)
      .def("__len__", [](const Logits& l) { return l.n_rows; })
      .def("__getitem__", &row_of, "row"_a)
      .def(
          "__array__",
          [](const Logits& l, const py::object& dtype, const py::object& copy) -> py::object {
            py::object array = all_of(l);
            if (!dtype.is_none()) array = array.attr("astype")(dtype, "copy"_a = false);
            const bool wanted = !copy.is_none() && copy.cast<bool>();
            return wanted ? array.attr("copy")() : array;
          },
          "dtype"_a = py::none(), "copy"_a = py::none())
      .def(
          "__dlpack__",
          [](const Logits& l, const py::object&, const py::object& max_version,
             const py::object& device,
             const py::object& copy) { return dlpack_of(l, max_version, device, copy); },
          py::kw_only(), "stream"_a = py::none(), "max_version"_a = py::none(),
          "dl_device"_a = py::none(), "copy"_a = py::none())
      .def("__dlpack_device__", [](const Logits&) { return py::make_tuple(kDlCpu, 0); });
}

}  // namespace mm2::python
