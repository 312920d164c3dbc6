#include "engine.h"

#include <algorithm>

#include "interrupt.h"
#include "quick.h"
#include "sampler.h"

namespace mm2::python {

void Cancellation::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_.store(true);
  mm2_engine_interrupt(running_);  // null is fine
}

bool Cancellation::begin(mm2_engine* engine) {
  const std::lock_guard lock(mutex_);
  if (!cancelled_.load()) running_ = engine;
  return running_ != nullptr;
}

void Cancellation::end() {
  const std::lock_guard lock(mutex_);
  // One that came just too late must not meet the next step, which is somebody else's.
  if (cancelled_.load()) mm2_engine_clear_interrupt(running_);
  running_ = nullptr;
}

struct Engine::Outcome {
  mm2_status status = MM2_CANCELLED;
  bool signalled = false;  // Ctrl-C came meanwhile
  mm2_error error = mm2::make<mm2_error>();
};

void Engine::fill(const py::list& rows) {
  batch_.rows.clear();
  batch_.tokens.clear();
  batch_.n_outputs = 0;
  for (const py::handle item : rows) {
    const auto& row = argument_of<Rows>(item, "rows");
    const auto n_tokens = static_cast<int32_t>(row.tokens.size());
    const int32_t position = row.position < 0 ? handle_.length(row.seq) : row.position;
    batch_.rows.push_back({row.seq, position, n_tokens, row.outputs});
    batch_.tokens.insert(batch_.tokens.end(), row.tokens.begin(), row.tokens.end());
    // More than there are tokens is the engine's to refuse, not a reason to take memory.
    if (row.outputs > 0) batch_.n_outputs += std::min(row.outputs, n_tokens);
  }
}

Engine::Outcome Engine::run(float* logits, size_t n_logits, mm2_status* row_status,
                            Cancellation* cancellation) {
  Outcome outcome;
  auto batch = mm2::make<mm2_batch>();
  batch.n_seqs = static_cast<int32_t>(batch_.rows.size());
  batch.seqs = batch_.rows.data();
  batch.n_tokens = static_cast<int32_t>(batch_.tokens.size());
  batch.tokens = batch_.tokens.data();
  const InterruptScope interrupts(handle_.get());
  const py::gil_scoped_release released;
  if (cancellation != nullptr && !cancellation->begin(handle_.get())) {
    outcome.error.code = MM2_CANCELLED;
    std::string_view("the step was cancelled before it began").copy(outcome.error.message, 64);
    return outcome;
  }
  outcome.status =
      mm2_engine_step(handle_.get(), &batch, logits, n_logits, row_status, &outcome.error);
  if (cancellation != nullptr) cancellation->end();
  outcome.signalled = interrupts.signalled();
  if (outcome.signalled) mm2_engine_clear_interrupt(handle_.get());
  return outcome;
}

void Engine::execute(float* logits, size_t n_logits, mm2_status* row_status,
                     Cancellation* cancellation) {
  for (;;) {
    const Outcome outcome = run(logits, n_logits, row_status, cancellation);
    if (outcome.status == MM2_OK) return;
    if (outcome.status != MM2_CANCELLED || !outcome.signalled) throw mm2::Error(outcome.error);
    // KeyboardInterrupt, or whatever the program's own handler raises. If it raises nothing, the
    // step is done again: a cancelled one has changed nothing.
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (cancellation != nullptr && cancellation->is_cancelled()) throw mm2::Error(outcome.error);
  }
}

namespace {

/// Waits without the interpreter's lock, which whoever runs a step will want.
std::unique_lock<std::mutex> locked(std::mutex& mutex) {
  std::unique_lock lock(mutex, std::try_to_lock);
  if (!lock.owns_lock()) {
    const py::gil_scoped_release released;
    lock.lock();
  }
  return lock;
}

}  // namespace

std::unique_ptr<Logits> Engine::step(const py::object& rows, bool keep, bool partial,
                                     Cancellation* cancellation) {
  const py::list items(rows);  // runs code of the caller, which may want this engine
  const auto lock = locked(mutex_);
  fill(items);
  ++pool_->n_steps;
  const int64_t n_outputs = batch_.n_outputs;
  const auto n_floats = static_cast<size_t>(n_outputs * n_vocab_);
  std::shared_ptr<LogitsBuffer> buffer = pool_->take(n_floats);
  std::vector<mm2_status> row_status(partial ? batch_.rows.size() : 0);
  execute(buffer->data.get(), n_floats, partial ? row_status.data() : nullptr, cancellation);
  return std::make_unique<Logits>(std::move(buffer), pool_, n_outputs, n_vocab_, keep,
                                  std::move(row_status));
}

py::object Engine::advance(const mm2_seq_rows& row, const std::vector<int32_t>& tokens,
                           Sampler& sampler, bool logprobs, Cancellation* cancellation) {
  if (sampler.n_vocab() != n_vocab_) throw py::value_error("the sampler is for another width");
  const auto n_floats = static_cast<size_t>(n_vocab_);
  std::shared_ptr<LogitsBuffer> buffer;
  {
    const auto lock = locked(mutex_);
    ++pool_->n_steps;
    buffer = pool_->take(n_floats);
    batch_.rows.assign(1, row);
    batch_.tokens.assign(tokens.begin(), tokens.end());
    execute(buffer->data.get(), n_floats, nullptr, cancellation);
  }
  if (!logprobs) {
    const int32_t token = sampler.pick(buffer->data.get());
    sampler.handle().accept(token);
    return py::int_(token);
  }
  py::tuple picked = sampler.pick_logprobs(buffer->data.get());
  sampler.handle().accept(picked[0].cast<int32_t>());
  return picked;
}

}  // namespace mm2::python
