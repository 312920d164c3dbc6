// Sequences of tokens through the fast kernels on the emulator, and through a backend of the host.
#pragma once

#include "kernels/cuda/decode/model.h"
#include "kernels/cuda/decode/plan.h"

namespace support {

/// New tokens of one sequence in a step.
struct Advance {
  int32_t sequence;
  std::vector<int32_t> tokens;
};

constexpr int32_t kBlockSize = 64;
constexpr int32_t kBlocksOfSequence = 20;
constexpr int32_t kSequences = 8;
constexpr int32_t kMostTokens = 24;  // of a step

/// What both sides know of their sequences: the positions that they have, and where those lie.
class Sequences {
 public:
  Sequences() : length(kSequences, 0) {
    for (int32_t i = 0; i < kSequences * kBlocksOfSequence; ++i) {
      blocks.push_back((i * 7 + 3) % (kSequences * kBlocksOfSequence));
    }
  }
  std::vector<int32_t> length, blocks;
};

/// The device's side. Logits are those of every token.
class DecodeEngine {
 public:
  DecodeEngine(const TwoModels& model, int32_t number, const cuda::DecodeOptions& options = {},
               int32_t max_positions = kBlocksOfSequence * kBlockSize)
      : s_(model.s),
        layout_(cuda::kv_layout_of(s_, kBlockSize, number)),
        cache_(static_cast<size_t>(layout_.block_bytes * s_.n_layers * kSequences *
                                   kBlocksOfSequence)),
        scales_(std::vector<float>(static_cast<size_t>(s_.n_layers * s_.n_kv_heads), kScale)),
        tokens_(kMostTokens),
        positions_(kMostTokens),
        row_results_(8),
        ids_(static_cast<size_t>(kMostTokens * s_.n_layers * s_.top_k)),
        h_(static_cast<size_t>(kMostTokens * s_.hidden)),
        rope_(static_cast<size_t>(kMostTokens * s_.rotary_dim)),
        logits_(static_cast<size_t>(kMostTokens * s_.n_vocab)),
        blocks_(sequences_.blocks) {
    step_.weights = &model.device;
    step_.limits = {kMostTokens, kMostTokens, 8, max_positions, 4};
    scratch_bytes_ = static_cast<size_t>(cuda::decode_ops()->scratch_bytes(s_, step_.limits));
    scratch_ = std::make_unique<OnDevice<char>>(scratch_bytes_);
    REQUIRE(cudaStreamCreateWithFlags(&step_.stream, cudaStreamNonBlocking) == cudaSuccess);
    step_.activations = kBF16;
    step_.tokens = tokens_.get();
    step_.rows = rows_.get();
    step_.positions = positions_.get();
    step_.row_results = row_results_.get();
    step_.kv = {cache_.get(),        layout_.block_bytes * kSequences * kBlocksOfSequence,
                layout_.block_bytes, layout_,
                scales_.get(),       scales_.get(),
                scales_.get(),       scales_.get(),
                blocks_.get()};
    step_.buffers.h = h_.get();
    step_.buffers.rope = rope_.get();
    step_.buffers.ids = ids_.get();
    step_.buffers.logits = logits_.get();
    step_.buffers.scratch = scratch_->get();
    REQUIRE(cuda::decode_refuses(model.device, number) == nullptr);
    cuda::DecodeOptions with_memory = options;
    resident_ = std::make_unique<OnDevice<char>>(static_cast<size_t>(cuda::resident_bytes(s_)));
    with_memory.resident_memory = resident_->get();
    REQUIRE(cuda::make_decode_state(step_, with_memory, &step_.state) == cudaSuccess);
  }
  ~DecodeEngine() {
    cuda::decode_ops()->free_state(step_.state);
    (void)cudaStreamDestroy(step_.stream);
  }
  DecodeEngine(const DecodeEngine&) = delete;
  DecodeEngine& operator=(const DecodeEngine&) = delete;

  std::vector<float> run(const std::vector<Advance>& rows, std::vector<int32_t> results = {}) {
    const bool ran = tries(rows);
    INFO(cuda_emulator::last_failure());
    REQUIRE(ran);
    results.resize(rows.size(), kRowDone);
    CHECK(row_results_.read(rows.size()) == results);
    return logits_.read(static_cast<size_t>(step_.n_tokens * s_.n_vocab));
  }

  /// Whether the step went well.
  bool tries(const std::vector<Advance>& rows) {
    std::vector<cuda::DeviceRow> all;
    int32_t n = 0;
    for (const Advance& row : rows) {
      auto& length = sequences_.length[static_cast<size_t>(row.sequence)];
      const auto count = static_cast<int32_t>(row.tokens.size());
      all.push_back({n, count, length, count, row.sequence * kBlocksOfSequence});
      for (const int32_t token : row.tokens) tokens_.get()[n++] = token;
      length += count;
    }
    step_.n_rows = static_cast<int32_t>(rows.size());
    step_.n_tokens = step_.n_outputs = n;
    std::copy(all.begin(), all.end(), rows_.get());
    step_.host_rows = all.data();
    REQUIRE(cuda::decode_takes(step_));
    return cuda::decode_ops()->layers(step_) == cudaSuccess &&
           cuda::decode_ops()->finish(step_) == cudaSuccess &&
           cudaStreamSynchronize(step_.stream) == cudaSuccess;
  }

  /// Gives a sequence earlier positions, whose keys and values are random.
  void pretend(int32_t sequence, int32_t length, uint64_t seed) {
    Random random(seed);
    sequences_.length[static_cast<size_t>(sequence)] = length;
    const int64_t numbers = layout_.block_bytes / bytes_of(layout_.number);
    for (int32_t i = 0; i < s_.n_layers * (length + kBlockSize - 1) / kBlockSize; ++i) {
      const int32_t of_layer = i % s_.n_layers * kSequences * kBlocksOfSequence;
      const int32_t block = blocks_.get()[sequence * kBlocksOfSequence + i / s_.n_layers];
      char* to = cache_.get() + layout_.block_bytes * (of_layer + block);
      for (int64_t k = 0; k < numbers; ++k) {
        const uint64_t bits = random.bits();
        if (layout_.number == kE4M3) {
          to[k] = static_cast<char>(bits & 0xBFu);
        } else {
          reinterpret_cast<uint16_t*>(to)[k] = static_cast<uint16_t>((bits & 0x80FFu) | 0x3F00u);
        }
      }
    }
  }
  std::vector<char> cache() const {
    return cache_.read(
        static_cast<size_t>(layout_.block_bytes * s_.n_layers * kSequences * kBlocksOfSequence));
  }
  /// What an interrupted step may have left where nothing is kept between steps.
  void spoil() { std::memset(scratch_->get(), 0xA5, scratch_bytes_); }
  std::vector<int32_t> ids() const {
    return ids_.read(static_cast<size_t>(s_.n_layers * step_.n_tokens * s_.top_k));
  }

  static constexpr float kScale = 0.02f;

 private:
  ModelShape s_;
  Sequences sequences_;
  cuda::KvLayout layout_;
  OnDevice<char> cache_;
  OnDevice<float> scales_;
  OnDevice<int32_t> tokens_, positions_, row_results_, ids_;
  OnDevice<float> h_, rope_, logits_;
  OnDevice<cuda::DeviceRow> rows_{8};
  OnDevice<int32_t> blocks_;
  size_t scratch_bytes_;
  std::unique_ptr<OnDevice<char>> scratch_, resident_;
  cuda::DeviceStep step_{};
};

/// The host's side, on any backend.
class HostEngine {
 public:
  HostEngine(TwoModels& model, const Backend* backend, int32_t number, int32_t activations)
      : s_(model.s),
        backend_(backend),
        weights_(model.host(backend != generic_backend())),
        activations_(activations),
        scales_(static_cast<size_t>(s_.n_layers * s_.n_kv_heads), DecodeEngine::kScale),
        block_bytes_(backend->kv_block_bytes(&s_, kBlockSize, number)),
        cache_(block_bytes_ * s_.n_layers * kSequences * kBlocksOfSequence),
        scratch_(backend->scratch_bytes(&s_, kMostTokens, kMostTokens, 1)) {
    kv_ = {cache_.get(), block_bytes_ * kSequences * kBlocksOfSequence, block_bytes_, kBlockSize,
           number};
    if (number == kE4M3) kv_.k_scales = kv_.v_scales = scales_.data();
  }

  std::vector<float> run(const std::vector<Advance>& rows) {
    std::vector<StepRow> all;
    std::vector<int32_t> tokens, positions, results(8);
    for (const Advance& row : rows) {
      auto& length = sequences_.length[static_cast<size_t>(row.sequence)];
      const auto n = static_cast<int32_t>(row.tokens.size());
      all.push_back({static_cast<int32_t>(tokens.size()), n, length, n,
                     sequences_.blocks.data() + row.sequence * kBlocksOfSequence});
      for (const int32_t token : row.tokens) {
        tokens.push_back(token);
        positions.push_back(length++);
      }
    }
    const auto n = static_cast<int32_t>(tokens.size());
    std::vector<float> logits(static_cast<size_t>(n * s_.n_vocab));
    const Workers workers(1);
    StepPlan plan{};
    plan.shape = &s_;
    plan.weights = &weights_;
    plan.kv = &kv_;
    plan.rows = all.data();
    plan.tokens = tokens.data();
    plan.positions = positions.data();
    plan.n_rows = static_cast<int32_t>(all.size());
    plan.n_tokens = plan.n_outputs = n;
    plan.activations = activations_;
    plan.logits = logits.data();
    plan.row_results = results.data();
    plan.scratch = scratch_.get();
    plan.executor = workers.get();
    REQUIRE(backend_->step(&plan) == kStepDone);
    return logits;
  }

 private:
  ModelShape s_;
  const Backend* backend_;
  ModelWeights weights_;
  int32_t activations_;
  Sequences sequences_;
  std::vector<float> scales_;
  int64_t block_bytes_;
  Memory cache_, scratch_;
  KvCache kv_{};
};

}  // namespace support
