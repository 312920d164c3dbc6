// An engine that serialises its calls: any thread may call any method.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "core.h"
#include "logits.h"

namespace mm2::python {

/// The tokens of one sequence in a step.
struct Rows {
  int32_t seq = 0;
  std::vector<int32_t> tokens;
  int32_t outputs = 0;
  int32_t position = -1;  // -1: the end of the sequence, asked for when the step begins
};

class Engine;
class Sampler;

/// Cancels the steps of one user of an engine and of nobody else: those that carry it.
class Cancellation {
 public:
  /// Any thread; with the interpreter's lock or without.
  void cancel();
  bool is_cancelled() const { return cancelled_.load(); }

 private:
  friend class Engine;
  /// False: do not begin. While a step is on, cancel() interrupts it.
  bool begin(mm2_engine* engine);
  void end();

  std::mutex mutex_;
  std::atomic<bool> cancelled_{false};
  mm2_engine* running_ = nullptr;
};

class Engine {
 public:
  Engine(mm2_engine* owned, int64_t n_vocab) : handle_(owned), n_vocab_(n_vocab) {}

  std::unique_ptr<Logits> step(const py::object& rows, bool keep, bool partial,
                               Cancellation* cancellation);
  /// A step of one sequence, and a draw from its last row that enters the sampler's history, in one
  /// call: the token, or what Sampler::pick_logprobs gives.
  py::object advance(const mm2_seq_rows& row, const std::vector<int32_t>& tokens, Sampler& sampler,
                     bool logprobs, Cancellation* cancellation);
  void interrupt() { handle_.interrupt(); }

  /// f(mm2::Engine&) while no step is running and with the interpreter's lock released.
  template <typename F>
  auto alone(F&& f) {
    const py::gil_scoped_release released;
    const std::lock_guard lock(mutex_);
    return f(handle_);
  }

 private:
  struct Batch {
    std::vector<mm2_seq_rows> rows;
    std::vector<int32_t> tokens;
    int64_t n_outputs = 0;
  };
  struct Outcome;
  void fill(const py::list& rows);
  /// run(), until there is a result or an exception.
  void execute(float* logits, size_t n_logits, mm2_status* row_status, Cancellation* cancellation);
  Outcome run(float* logits, size_t n_logits, mm2_status* row_status, Cancellation* cancellation);

  std::mutex mutex_;  // never waited for with the interpreter's lock
  mm2::Engine handle_;
  int64_t n_vocab_;
  Batch batch_;  // of the step that holds the mutex
  std::shared_ptr<LogitsPool> pool_ = std::make_shared<LogitsPool>();
};

}  // namespace mm2::python
