#include "host.h"

#include "interrupt.h"

namespace mm2::python {
namespace {

void write_log(void*, int32_t level, const char* component, const char* text, size_t length) {
  if (Py_IsInitialized() == 0) return;
  const py::gil_scoped_acquire locked;
  try {
    const py::object write = py::module_::import("mm2._log").attr("write");
    write(level, component, to_str({text, length}));
  } catch (py::error_already_set& e) {
    e.discard_as_unraisable("mm2 log");  // a sink cannot fail
  }
}

/// The most talkative level that the logger "mm2" lets through now.
int32_t log_level() {
  return py::module_::import("mm2._log").attr("level")().cast<int32_t>();
}

}  // namespace

Progress::Progress(py::object callable)
    : callable_(std::move(callable)), on_main_thread_(InterruptScope::on_main_thread()) {}

Progress::~Progress() {
  const py::gil_scoped_acquire locked;
  raised_.reset();
  callable_ = py::object();
}

int32_t Progress::report(void* user_data, const mm2_progress* progress) {
  auto* self = static_cast<Progress*>(user_data);
  if (self->on_main_thread_ && InterruptScope::main_thread_signalled()) return 1;
  const py::gil_scoped_acquire locked;
  return self->callable_.is_none() ? 0 : self->call(*progress);
}

int32_t Progress::call(const mm2_progress& progress) {
  try {
    callable_(progress.stage, progress.done, progress.total,
              to_str(progress.subject == nullptr ? "" : progress.subject));
    return 0;
  } catch (py::error_already_set& e) {
    raised_.emplace(e);
    return 1;
  }
}

void Progress::rethrow() {
  if (!raised_) return;
  py::error_already_set raised = std::move(*raised_);
  raised_.reset();
  throw raised;  // NOLINT: by value, as pybind11 wants it
}

Host::Host(Progress* progress) : log_(mm2::make<mm2_log>()), host_(mm2::make<mm2_host>()) {
  const int32_t level = log_level();
  log_.level = level;
  log_.write = write_log;
  if (level > 0) host_.log = &log_;
  if (progress != nullptr) {
    host_.progress = Progress::report;
    host_.progress_user_data = progress;
  }
}

}  // namespace mm2::python
