// Buffers and a KV pool around a model. The host decides what runs in each step; the engine checks
// it, runs it and commits it.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/executor.h"
#include "base/host.h"
#include "base/json.h"
#include "device/engine.h"
#include "kv/sequences.h"
#include "model/model.h"
#include "tensor/buffer.h"

namespace mm2 {

enum class KvDtype : int32_t { automatic = 0, f32 = 1, bf16 = 2, fp8 = 3 };
enum class KvScaleSource : int32_t { checkpoint = 0, one = 1 };
enum class PrefixCaching : int32_t { automatic = 0, no = 1, yes = 2 };
enum class DeviceKernels : int32_t { fast = 0, simple = 1 };
enum class Activations : int32_t { automatic = 0, bf16 = 1, f32 = 2, int8 = 3 };

/// 0 means the default, everywhere.
struct EngineOptions {
  int32_t max_seqs = 0;              // sequences that hold tokens at once; 8
  int32_t max_tokens_per_step = 0;   // 512
  int32_t max_outputs_per_step = 0;  // rows of logits; max_tokens_per_step
  // pool size in tokens, rounded up to blocks; max_seqs * min(4096, max_positions)
  int64_t kv_tokens = 0;
  int32_t kv_block_size = 0;                            // tokens; a multiple of 64; 64
  KvDtype kv_dtype = KvDtype::automatic;                // BF16, or F32 where activations are F32
  KvScaleSource kv_scales = KvScaleSource::checkpoint;  // of FP8
  Activations activations = Activations::automatic;     // Model::default_activations
  int32_t n_threads = 0;                                // without a host executor: all usable cores
  // automatic is yes: only sequences that begin with prefix_match take part
  PrefixCaching prefix_cache = PrefixCaching::automatic;
  DeviceKernels device_kernels = DeviceKernels::fast;  // simple: the bits of the CPU
  void* device_stream = nullptr;                       // the host's; null: one of the engine's own
  BlockHash prefix_hash = &hash_block;                 // for tests
};

/// Bytes, exact for the same options.
struct MemoryEstimate {
  uint64_t weights = 0;       // held by the model, shared by its engines
  uint64_t kv = 0;            // the KV pool
  uint64_t buffers = 0;       // everything else of the engine
  uint64_t load_staging = 0;  // on top, while loading
  uint64_t device_weights = 0, device_kv = 0, device_buffers = 0;  // in a device's memory
};

/// The tokens of one sequence in a step; the last n_outputs of them get logits.
struct SeqRows {
  int32_t seq_id, first_position, n_tokens, n_outputs;
};

class Engine {
 public:
  /// Every option made explicit, or invalid_argument with the allowed range.
  static Result<EngineOptions> resolve(const Model& model, const EngineOptions& options,
                                       const Host& host);
  static Result<MemoryEstimate> estimate(const Model& model, const EngineOptions& options,
                                         const Host& host);
  /// Takes all memory and threads here; step takes none.
  static Result<std::unique_ptr<Engine>> create(std::shared_ptr<const Model> model,
                                                const EngineOptions& options, const Host& host);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Runs one batch: all of it is committed, or nothing is. rows name each sequence once, with
  /// first_position equal to its length; tokens are those of the rows one after another. logits:
  /// [sum of n_outputs, n_vocab], or empty to skip them.
  ///
  /// kv_exhausted, cancelled, invalid_argument, busy: everything is as before. A sequence whose
  /// values are not finite is numeric in row_codes [rows] and stays as before while the others
  /// commit; without row_codes the whole step fails then.
  Status step(std::span<const SeqRows> rows, std::span<const int32_t> tokens,
              std::span<float> logits, std::span<Code> row_codes);

  /// Any thread, any time: the running step, or the next one, ends with Code::cancelled before its
  /// next layer.
  void interrupt() { interrupted_.store(true, std::memory_order_release); }
  /// Withdraws an interrupt that found no step to end. Any thread.
  void clear_interrupt() { interrupted_.store(false, std::memory_order_release); }

  int32_t seq_length(int32_t seq_id) const { return sequences_->length(seq_id); }
  Status seq_fork(int32_t from, int32_t to, int32_t length);
  Status seq_truncate(int32_t seq_id, int32_t length);
  Status seq_free(int32_t seq_id);
  /// The sequence as bytes that an engine of the same model and numbers takes, whatever its blocks
  /// and backend. Not during a step.
  Result<std::string> seq_export(int32_t seq_id) const;
  /// Code::format for what is damaged, invalid_argument for what is of another model.
  Status seq_import(int32_t seq_id, std::string_view bytes);
  /// See Sequences.
  Result<int32_t> prefix_match(int32_t seq_id, std::span<const int32_t> tokens, uint64_t salt);
  Result<int64_t> prefix_evict(int64_t n_blocks);
  Status prefix_clear(std::optional<uint64_t> salt);
  const BlockPool& kv_pool() const { return sequences_->pool(); }

  const Model& model() const { return *model_; }
  /// What create() decided for each option.
  const EngineOptions& options() const { return options_; }
  MemoryEstimate memory() const;
  /// KV use, counts, time, experts touched.
  Json stats() const;

  /// For tests and experiments: sees the intermediate values of every later step. null ends it.
  void observe(const kernels::Observer* observer) { observer_ = observer; }

 private:
  struct Counters {
    uint64_t steps = 0, tokens = 0, outputs = 0, cancelled = 0, kv_exhausted = 0, numeric_rows = 0;
    uint64_t nanoseconds = 0, experts_touched = 0, expert_layers = 0;
    uint64_t kv_bytes = 0, multiplications = 0;
  };

  Engine(std::shared_ptr<const Model> model, const EngineOptions& options);
  static int32_t kv_number(const Model& model, const EngineOptions& options);
  static bool has_unit_scales(const EngineOptions& options);
  Status take_memory(const Host& host);
  Status take_host_memory(const MemoryEstimate& bytes, const Host& host);
  Status take_device_memory(const MemoryEstimate& bytes);
  Status make_sequences(int32_t n_blocks);
  static int32_t kernel_activations(const Model& model, const EngineOptions& options);
  static kernels::DeviceEngineOptions device_options(const Model& model,
                                                     const EngineOptions& options);
  Status read_positions(const kernels::StepRow& row, int32_t first, int32_t n, void* to) const;
  Status write_positions(const kernels::StepRow& row, int32_t first, int32_t n, const void* from);
  Status usable() const;
  Status check(std::span<const SeqRows> rows, std::span<const int32_t> tokens,
               std::span<float> logits, std::span<Code> row_codes) const;
  Status check_tokens(std::span<const int32_t> tokens) const;
  Status check_row(std::span<const SeqRows> rows, size_t r) const;
  Status reserve(std::span<const SeqRows> rows);
  void fill_rows(std::span<const SeqRows> rows);
  Status run(std::span<const SeqRows> rows, std::span<const int32_t> tokens,
             std::span<float> logits);
  Status commit(std::span<const SeqRows> rows, std::span<const int32_t> tokens,
                std::span<Code> row_codes);
  void roll_back(std::span<const SeqRows> rows);
  void count(std::span<const SeqRows> rows, uint64_t nanoseconds);
  static void see(void* self, const char* name, int32_t layer, const void* values, int32_t number,
                  int64_t n_rows, int64_t width);

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  std::shared_ptr<Executor> executor_;
  kernels::Executor kernel_executor_{};
  Buffer kv_memory_;
  Buffer scratch_;
  DeviceMemory device_kv_memory_;  // instead of kv_memory_
  kernels::KvCache kv_{};
  std::vector<float> unit_scales_;               // [n_layers, n_kv_heads], where has_unit_scales
  std::unique_ptr<DeviceEngine> device_engine_;  // null on the CPU; uses the three above
  std::unique_ptr<Sequences> sequences_;
  std::vector<kernels::StepRow> step_rows_;  // [max_seqs]
  std::vector<int32_t> positions_;           // [max_tokens_per_step]
  std::vector<int32_t> row_results_;         // [max_seqs]
  std::vector<uint8_t> expert_seen_;         // [n_experts]
  std::vector<uint64_t> expert_tokens_;      // [n_layers, n_experts], since create
  const kernels::Observer* observer_ = nullptr;
  std::atomic<bool> interrupted_{false};
  std::atomic<bool> busy_{false};
  int64_t owner_process_ = 0;
  Counters counters_;
};

}  // namespace mm2
