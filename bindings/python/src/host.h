// What this host gives to the library: the log goes to Python's logging, progress to a callable.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "core.h"

namespace mm2::python {

/// The callable that hears of progress, and what it raised. Lives as long as the object that was
/// made with it.
class Progress {
 public:
  /// `callable`: called with (stage, done, total, subject), or None.
  explicit Progress(py::object callable);
  ~Progress();

  /// mm2_progress_fn; user_data is a Progress. From any thread, without the interpreter's lock.
  static int32_t report(void* user_data, const mm2_progress* progress);

  /// Throws what the callable raised, if it did. With the interpreter's lock.
  void rethrow();

 private:
  int32_t call(const mm2_progress& progress);

  py::object callable_;
  bool on_main_thread_;  // the work that is reported on: only there Ctrl-C ends it
  std::optional<py::error_already_set> raised_;
};

/// An mm2_host and what it points to. progress: null = none.
class Host {
 public:
  explicit Host(Progress* progress = nullptr);
  const mm2_host* get() const { return &host_; }

 private:
  mm2_log log_;
  mm2_host host_;
};

}  // namespace mm2::python
