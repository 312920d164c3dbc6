#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/executor.h"

namespace mm2 {
namespace {

class Inline final : public Executor {
 public:
  int32_t n_workers() const override { return 1; }
  void parallel_for(int32_t n_tasks, Task task, void* context) override {
    for (int32_t i = 0; i < n_tasks; ++i) task(context, i, 0);
  }
};

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// A step has hundreds of short phases: workers spin for the next one and sleep only after about 50
// us without work.
class Team final : public Executor {
 public:
  explicit Team(int32_t n_threads) : n_threads_(n_threads) {
    threads_.reserve(static_cast<size_t>(n_threads - 1));
    for (int32_t worker = 1; worker < n_threads; ++worker) {
      threads_.emplace_back([this, worker] { serve(worker); });
    }
  }
  ~Team() override {
    publish(0, nullptr, nullptr, true);
    for (std::thread& thread : threads_) thread.join();
  }

  int32_t n_workers() const override { return n_threads_; }

  void parallel_for(int32_t n_tasks, Task task, void* context) override {
    if (n_tasks <= 1 || n_threads_ == 1) {
      for (int32_t i = 0; i < n_tasks; ++i) task(context, i, 0);
      return;
    }
    publish(n_tasks, task, context, false);
    take_tasks(0);
    while (busy_.load(std::memory_order_acquire) != 0) pause_briefly();
  }

 private:
  static constexpr int kSpins = 2000;

  void publish(int32_t n_tasks, Task task, void* context, bool stop) {
    n_tasks_ = n_tasks;
    task_ = task;
    context_ = context;
    stop_ = stop;
    next_.store(0, std::memory_order_relaxed);
    busy_.store(n_threads_ - 1, std::memory_order_relaxed);
    {
      // The lock orders the new round before a sleeper's check of it.
      std::lock_guard lock(mutex_);
      round_.fetch_add(1, std::memory_order_release);
    }
    if (sleepers_.load(std::memory_order_acquire) > 0) wake_.notify_all();
  }

  void take_tasks(int32_t worker) {
    for (;;) {
      const int32_t i = next_.fetch_add(1, std::memory_order_relaxed);
      if (i >= n_tasks_) return;
      task_(context_, i, worker);
    }
  }

  void serve(int32_t worker) {
    uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpins && round_.load(std::memory_order_acquire) == seen; ++spin) {
        pause_briefly();
      }
      if (round_.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex_);
        sleepers_.fetch_add(1, std::memory_order_acq_rel);
        wake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
        sleepers_.fetch_sub(1, std::memory_order_acq_rel);
      }
      ++seen;
      if (stop_) return;
      take_tasks(worker);
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  const int32_t n_threads_;
  int32_t n_tasks_ = 0;
  Task task_ = nullptr;
  void* context_ = nullptr;
  bool stop_ = false;
  alignas(64) std::atomic<uint64_t> round_{0};
  alignas(64) std::atomic<int32_t> next_{0};
  alignas(64) std::atomic<int32_t> busy_{0};
  std::atomic<int32_t> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> threads_;
};

}  // namespace

std::shared_ptr<Executor> inline_executor() {
  return std::make_shared<Inline>();
}

Result<std::shared_ptr<Executor>> make_thread_team(int32_t n_threads) {
  if (n_threads < 1 || n_threads > 1024) {
    return error(Code::invalid_argument, "n_threads is ", n_threads, ", allowed are 1 to 1024");
  }
  if (n_threads == 1) return inline_executor();
  try {
    return std::shared_ptr<Executor>(std::make_shared<Team>(n_threads));
  } catch (const std::system_error& e) {
    return error(Code::out_of_memory, "starting ", n_threads, " threads: ", e.what());
  }
}

int32_t usable_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int32_t>(std::thread::hardware_concurrency()));
}

}  // namespace mm2
