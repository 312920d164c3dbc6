#include "engine/engine.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "engine/in_use.h"

namespace mm2 {
namespace {

void parallel_for(void* self, int32_t n_tasks, void (*task)(void*, int32_t, int32_t),
                  void* context) {
  static_cast<Executor*>(self)->parallel_for(n_tasks, task, context);
}

}  // namespace

Engine::Engine(std::shared_ptr<const Model> model, const EngineOptions& options)
    : model_(std::move(model)), options_(options), owner_process_(getpid()) {}

Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::create(std::shared_ptr<const Model> model,
                                               const EngineOptions& options, const Host& host) {
  if (!model->has_weights()) {
    return error(Code::invalid_argument,
                 "the model was loaded with metadata_only: it has no weights to run");
  }
  MM2_ASSIGN_OR_RETURN(const EngineOptions resolved, resolve(*model, options, host));
  std::unique_ptr<Engine> engine(new Engine(std::move(model), resolved));
  engine->executor_ = host.executor;
  if (engine->model_->device_model() != nullptr) {
    engine->executor_ = inline_executor();  // the device needs no threads of ours
  } else if (engine->executor_ == nullptr) {
    MM2_ASSIGN_OR_RETURN(engine->executor_, make_thread_team(resolved.n_threads));
  }
  engine->kernel_executor_ = {engine->executor_.get(), engine->executor_->n_workers(),
                              &parallel_for};
  MM2_RETURN_IF_ERROR(engine->take_memory(host));
  return engine;
}

MemoryEstimate Engine::memory() const {
  Host host;
  host.executor = executor_;
  auto bytes = estimate(*model_, options_, host);
  return bytes.ok() ? *bytes : MemoryEstimate{};
}

Status Engine::usable() const {
  if (getpid() == owner_process_) {
    return device_engine_ == nullptr ? Status() : device_engine_->device().usable();
  }
  return error(Code::forked, "this engine was made in process ", owner_process_,
               " and its threads stayed there; this is process ", getpid());
}

// ---- one step
// -------------------------------------------------------------------------------------------

Status Engine::check_row(std::span<const SeqRows> rows, size_t r) const {
  const SeqRows& row = rows[r];
  const auto refuse = [&](const auto&... why) {
    return error(Code::invalid_argument, "row ", r, " (sequence ", row.seq_id, "): ", why...);
  };
  if (row.seq_id < 0) return refuse("seq_id must not be negative");
  if (row.n_tokens < 1) return refuse("n_tokens is ", row.n_tokens, ", it must be at least 1");
  if (row.n_outputs < 0 || row.n_outputs > row.n_tokens) {
    return refuse("n_outputs is ", row.n_outputs, ", allowed are 0 to n_tokens = ", row.n_tokens);
  }
  const int32_t length = sequences_->length(row.seq_id);
  if (row.first_position != length) {
    return refuse("first_position is ", row.first_position, ", the sequence holds ", length,
                  " tokens");
  }
  for (size_t other = 0; other < r; ++other) {
    if (rows[other].seq_id == row.seq_id) return refuse("the sequence is also row ", other);
  }
  return {};
}

Status Engine::check_tokens(std::span<const int32_t> tokens) const {
  const int32_t n_vocab = model_->shape().n_vocab;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= n_vocab) {
      return error(Code::invalid_argument, "token ", i, " is ", tokens[i],
                   ", the vocabulary has ids 0 to ", n_vocab - 1);
    }
  }
  return {};
}

Status Engine::check(std::span<const SeqRows> rows, std::span<const int32_t> tokens,
                     std::span<float> logits, std::span<Code> row_codes) const {
  if (rows.empty()) return error(Code::invalid_argument, "the batch has no rows");
  if (rows.size() > step_rows_.size()) {
    return error(Code::invalid_argument, "the batch has ", rows.size(), " rows, max_seqs is ",
                 options_.max_seqs);
  }
  int64_t n_tokens = 0;
  int64_t n_outputs = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    MM2_RETURN_IF_ERROR(check_row(rows, r));
    n_tokens += rows[r].n_tokens;
    n_outputs += rows[r].n_outputs;
  }
  if (n_tokens != static_cast<int64_t>(tokens.size())) {
    return error(Code::invalid_argument, "the rows have ", n_tokens, " tokens, ", tokens.size(),
                 " are given");
  }
  if (n_tokens > options_.max_tokens_per_step) {
    return error(Code::invalid_argument, "the batch has ", n_tokens,
                 " tokens, max_tokens_per_step is ", options_.max_tokens_per_step);
  }
  if (n_outputs > options_.max_outputs_per_step) {
    return error(Code::invalid_argument, "the batch wants ", n_outputs,
                 " rows of logits, max_outputs_per_step is ", options_.max_outputs_per_step);
  }
  MM2_RETURN_IF_ERROR(check_tokens(tokens));
  const int32_t n_vocab = model_->shape().n_vocab;
  const auto wanted = static_cast<size_t>(n_outputs) * static_cast<size_t>(n_vocab);
  if (!logits.empty() && logits.size() < wanted) {
    return error(Code::invalid_argument, "logits holds ", logits.size(), " floats, ", n_outputs,
                 " rows of ", n_vocab, " need ", wanted);
  }
  if (!row_codes.empty() && row_codes.size() != rows.size()) {
    return error(Code::invalid_argument, "row_codes holds ", row_codes.size(), " entries for ",
                 rows.size(), " rows");
  }
  return {};
}

Status Engine::reserve(std::span<const SeqRows> rows) {
  for (size_t r = 0; r < rows.size(); ++r) {
    Status status =
        rows[r].n_tokens > INT32_MAX - rows[r].first_position
            ? error(Code::invalid_argument, "sequence ", rows[r].seq_id, " too long")
            : sequences_->reserve(rows[r].seq_id, rows[r].first_position + rows[r].n_tokens);
    if (!status.ok()) {
      roll_back(rows.first(r));
      return status;
    }
  }
  return {};
}

void Engine::roll_back(std::span<const SeqRows> rows) {
  for (size_t r = rows.size(); r-- > 0;) sequences_->roll_back(rows[r].seq_id);
}

void Engine::fill_rows(std::span<const SeqRows> rows) {
  int32_t at = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    const SeqRows& row = rows[r];
    step_rows_[r] = {at, row.n_tokens, row.first_position, row.n_outputs,
                     sequences_->blocks(row.seq_id).data()};
    for (int32_t i = 0; i < row.n_tokens; ++i) {
      positions_[static_cast<size_t>(at + i)] = row.first_position + i;
    }
    at += row.n_tokens;
  }
}

Status Engine::run(std::span<const SeqRows> rows, std::span<const int32_t> tokens,
                   std::span<float> logits) {
  int32_t n_outputs = 0;
  for (const SeqRows& row : rows) n_outputs += row.n_outputs;
  const kernels::Observer watcher{this, &Engine::see};
  kernels::StepPlan plan{};
  plan.shape = &model_->shape();
  plan.weights = &model_->weights();
  plan.kv = &kv_;
  plan.rows = step_rows_.data();
  plan.tokens = tokens.data();
  plan.positions = positions_.data();
  plan.n_rows = static_cast<int32_t>(rows.size());
  plan.n_tokens = static_cast<int32_t>(tokens.size());
  plan.n_outputs = n_outputs;
  plan.activations = kernel_activations(*model_, options_);
  plan.logits = logits.empty() ? nullptr : logits.data();
  plan.row_results = row_results_.data();
  plan.scratch = scratch_.data();
  plan.executor = &kernel_executor_;
  plan.interrupted = [](void* self) -> int32_t {
    return static_cast<Engine*>(self)->interrupted_.load(std::memory_order_acquire) ? 1 : 0;
  };
  plan.interrupted_self = this;
  plan.observer = &watcher;
  plan.observes_all = observer_ != nullptr ? 1 : 0;
  Status status;
  if (device_engine_ != nullptr) {
    status = device_engine_->step(plan);
    if (status.code() != Code::cancelled) return status;
  } else if (model_->backend().step(&plan) == kernels::kStepDone) {
    return {};
  }
  interrupted_.store(false, std::memory_order_release);
  ++counters_.cancelled;
  return error(Code::cancelled, "the step was interrupted; nothing of it was kept");
}

Status Engine::commit(std::span<const SeqRows> rows, std::span<const int32_t> tokens,
                      std::span<Code> row_codes) {
  const auto bad = [&](size_t r) { return row_results_[r] != kernels::kRowDone; };
  for (size_t r = 0; r < rows.size(); ++r) {
    if (!bad(r)) continue;
    ++counters_.numeric_rows;
    if (row_codes.empty()) {
      return error(Code::numeric, "row ", r, " (sequence ", rows[r].seq_id,
                   "): the residual stream holds NaN or infinity");
    }
  }
  size_t at = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto n_tokens = static_cast<size_t>(rows[r].n_tokens);
    if (bad(r)) {
      sequences_->roll_back(rows[r].seq_id);
    } else {
      sequences_->commit(rows[r].seq_id, tokens.subspan(at, n_tokens));
    }
    at += n_tokens;
    if (!row_codes.empty()) row_codes[r] = bad(r) ? Code::numeric : Code::ok;
  }
  return {};
}

Status Engine::step(std::span<const SeqRows> rows, std::span<const int32_t> tokens,
                    std::span<float> logits, std::span<Code> row_codes) {
  const InUse use(busy_);
  MM2_RETURN_IF_ERROR(use.status());
  MM2_RETURN_IF_ERROR(usable());
  MM2_RETURN_IF_ERROR(check(rows, tokens, logits, row_codes));
  const auto start = std::chrono::steady_clock::now();
  if (Status status = reserve(rows); !status.ok()) {
    if (status.code() == Code::kv_exhausted) ++counters_.kv_exhausted;
    return status;
  }
  fill_rows(rows);
  Status status = run(rows, tokens, logits);
  if (status.ok()) status = commit(rows, tokens, row_codes);
  if (!status.ok()) {
    roll_back(rows);
    return status;
  }
  count(rows, static_cast<uint64_t>(
                  std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count()));
  return {};
}

// Counts the experts of each layer and the tokens that chose them, and passes everything on to whoever observes.
void Engine::see(void* self, const char* name, int32_t layer, const void* values, int32_t number,
                 int64_t n_rows, int64_t width) {
  auto& engine = *static_cast<Engine*>(self);
  if (number == kernels::kI32) {
    std::ranges::fill(engine.expert_seen_, uint8_t{0});
    const std::span ids(static_cast<const int32_t*>(values), static_cast<size_t>(n_rows * width));
    uint64_t* tokens =
        engine.expert_tokens_.data() + static_cast<size_t>(layer) * engine.expert_seen_.size();
    for (const int32_t id : ids) {
      engine.expert_seen_[static_cast<size_t>(id)] = 1;
      ++tokens[id];
    }
    engine.counters_.experts_touched +=
        static_cast<uint64_t>(std::ranges::count(engine.expert_seen_, uint8_t{1}));
    ++engine.counters_.expert_layers;
  }
  if (engine.observer_ != nullptr) {
    engine.observer_->see(engine.observer_->self, name, layer, values, number, n_rows, width);
  }
}

// ---- sequences
// ------------------------------------------------------------------------------------------

Status Engine::seq_fork(int32_t from, int32_t to, int32_t length) {
  const InUse use(busy_);
  MM2_RETURN_IF_ERROR(use.status());
  MM2_RETURN_IF_ERROR(usable());
  if (to < 0) return error(Code::invalid_argument, "seq_id ", to, " must not be negative");
  return sequences_->fork(from, to, length);
}

Status Engine::seq_truncate(int32_t seq_id, int32_t length) {
  const InUse use(busy_);
  MM2_RETURN_IF_ERROR(use.status());
  MM2_RETURN_IF_ERROR(usable());
  return sequences_->truncate(seq_id, length);
}

Status Engine::seq_free(int32_t seq_id) {
  const InUse use(busy_);
  MM2_RETURN_IF_ERROR(use.status());
  MM2_RETURN_IF_ERROR(usable());
  sequences_->free(seq_id);
  return {};
}

Result<int32_t> Engine::prefix_match(int32_t seq_id, std::span<const int32_t> tokens,
                                     uint64_t salt) {
  const InUse use(busy_);
  MM2_RETURN_IF_ERROR(use.status());
  MM2_RETURN_IF_ERROR(usable());
  if (seq_id < 0) return error(Code::invalid_argument, "seq_id ", seq_id, " must not be negative");
  return sequences_->match(seq_id, tokens, salt);
}

Result<int64_t> Engine::prefix_evict(int64_t n_blocks) {
  const InUse use(busy_);
  MM2_RETURN_IF_ERROR(use.status());
  MM2_RETURN_IF_ERROR(usable());
  return sequences_->evict(n_blocks);
}

Status Engine::prefix_clear(std::optional<uint64_t> salt) {
  const InUse use(busy_);
  MM2_RETURN_IF_ERROR(use.status());
  MM2_RETURN_IF_ERROR(usable());
  sequences_->clear_cache(salt);
  return {};
}

}  // namespace mm2
