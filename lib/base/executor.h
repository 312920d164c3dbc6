// Threads: either the host's parallel_for or a team of our own.
#pragma once

#include <cstdint>
#include <memory>

#include "base/status.h"

namespace mm2 {

/// Runs independent tasks. One parallel_for at a time; tasks must not throw and must not call back
/// into it.
class Executor {
 public:
  using Task = void (*)(void* context, int32_t task, int32_t worker);
  virtual ~Executor() = default;
  virtual int32_t n_workers() const = 0;
  /// Calls task(context, i, worker) once for each i in [0, n_tasks) and returns when all have.
  /// worker is in [0, n_workers).
  virtual void parallel_for(int32_t n_tasks, Task task, void* context) = 0;

  /// The same for a callable: run(n, [&](int32_t task, int32_t worker) { ... }). Allocates nothing.
  template <typename F>
  void run(int32_t n_tasks, F&& f) {
    parallel_for(
        n_tasks,
        [](void* context, int32_t task, int32_t worker) {
          (*static_cast<std::remove_reference_t<F>*>(context))(task, worker);
        },
        const_cast<void*>(static_cast<const void*>(&f)));
  }
};

/// Everything on the calling thread.
std::shared_ptr<Executor> inline_executor();

/// A team of n_threads workers, the caller being one of them; joined when destroyed. Between uses
/// the others spin briefly, then sleep.
Result<std::shared_ptr<Executor>> make_thread_team(int32_t n_threads);

/// Cores this process may use.
int32_t usable_cores();

}  // namespace mm2
