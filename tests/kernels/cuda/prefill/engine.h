// Sequences of tokens through the fast kernels on the emulator, any number of tokens in a step.
#pragma once

#include "kernels/cuda/decode/model.h"
#include "kernels/cuda/prefill/prefill.h"

namespace support {

/// New tokens of one sequence in a step.
struct NewTokens {
  int32_t sequence;
  std::vector<int32_t> tokens;
};

class FastEngine {
 public:
  static constexpr int32_t kBlockSize = 64, kBlocks = 4, kSequences = 3, kMostTokens = 64;
  static constexpr float kScale = 0.02f;

  FastEngine(const TwoModels& model, int32_t number, int32_t n_multiprocessors = 4)
      : s_(model.s),
        layout_(cuda::kv_layout_of(s_, kBlockSize, number)),
        cache_(size(layout_.block_bytes * s_.n_layers * kSequences * kBlocks)),
        scales_(std::vector<float>(size(s_.n_layers * s_.n_kv_heads), kScale)),
        blocks_(size(kSequences * kBlocks)),
        tokens_(kMostTokens),
        positions_(kMostTokens),
        output_tokens_(kMostTokens),
        row_results_(kSequences),
        ids_(size(kMostTokens * s_.n_layers * s_.top_k)),
        rows_(kSequences),
        h_(size(kMostTokens * s_.hidden)),
        x_(size(kMostTokens * s_.hidden)),
        rope_(size(kMostTokens * s_.rotary_dim)),
        weights_(size(kMostTokens * s_.top_k)),
        outputs_(size(kMostTokens * s_.hidden)),
        logits_(size(kMostTokens * s_.n_vocab)) {
    for (int32_t i = 0; i < kSequences * kBlocks; ++i) {
      blocks_.get()[i] = (i * 7 + 3) % (kSequences * kBlocks);
    }
    step_.weights = &model.device;
    step_.limits = {kMostTokens, kMostTokens, kSequences, kBlocks * kBlockSize, n_multiprocessors};
    scratch_ =
        std::make_unique<OnDevice<char>>(size(cuda::fast_ops()->scratch_bytes(s_, step_.limits)));
    REQUIRE(cudaStreamCreateWithFlags(&step_.stream, cudaStreamNonBlocking) == cudaSuccess);
    step_.activations = kBF16;
    step_.tokens = tokens_.get();
    step_.positions = positions_.get();
    step_.output_tokens = output_tokens_.get();
    step_.row_results = row_results_.get();
    step_.rows = rows_.get();
    step_.kv = {cache_.get(),        layout_.block_bytes * kSequences * kBlocks,
                layout_.block_bytes, layout_,
                scales_.get(),       scales_.get(),
                scales_.get(),       scales_.get(),
                blocks_.get()};
    cuda::StepBuffers& b = step_.buffers;
    b.h = h_.get();
    b.x = x_.get();
    b.rope = rope_.get();
    b.ids = ids_.get();
    b.weights = weights_.get();
    b.outputs = outputs_.get();
    b.logits = logits_.get();
    b.scratch = scratch_->get();
    REQUIRE(cuda::fast_refuses(model.device, number) == nullptr);
    REQUIRE(cuda::fast_ops()->make_state(step_, &step_.state) == cudaSuccess);
  }
  ~FastEngine() {
    cuda::fast_ops()->free_state(step_.state);
    (void)cudaStreamDestroy(step_.stream);
  }
  FastEngine(const FastEngine&) = delete;
  FastEngine& operator=(const FastEngine&) = delete;

  /// Logits of every token.
  std::vector<float> run(const std::vector<NewTokens>& rows) {
    std::vector<cuda::DeviceRow> all;
    int32_t n = 0;
    for (const NewTokens& row : rows) {
      int32_t& length = length_[row.sequence];
      const auto count = static_cast<int32_t>(row.tokens.size());
      all.push_back({n, count, length, count, row.sequence * kBlocks});
      for (const int32_t token : row.tokens) {
        tokens_.get()[n] = token;
        positions_.get()[n] = length++;
        output_tokens_.get()[n] = n;
        ++n;
      }
    }
    step_.n_rows = static_cast<int32_t>(rows.size());
    step_.n_tokens = step_.n_outputs = n;
    std::copy(all.begin(), all.end(), rows_.get());
    step_.host_rows = all.data();
    const cuda::DeviceOps& ops = *cuda::fast_ops();
    const bool ran = ops.layers(step_) == cudaSuccess && ops.finish(step_) == cudaSuccess &&
                     cudaStreamSynchronize(step_.stream) == cudaSuccess;
    INFO(cuda_emulator::last_failure());
    REQUIRE(ran);
    results = row_results_.read(rows.size());
    ids = ids_.read(size(s_.n_layers * n * s_.top_k));
    return logits_.read(size(n * s_.n_vocab));
  }

  std::vector<int32_t> results, ids;  // of the last step

 private:
  static size_t size(int64_t n) { return static_cast<size_t>(n); }

  ModelShape s_;
  int32_t length_[kSequences] = {};
  cuda::KvLayout layout_;
  OnDevice<char> cache_;
  OnDevice<float> scales_;
  OnDevice<int32_t> blocks_, tokens_, positions_, output_tokens_, row_results_, ids_;
  OnDevice<cuda::DeviceRow> rows_;
  OnDevice<float> h_, x_, rope_, weights_, outputs_, logits_;
  std::unique_ptr<OnDevice<char>> scratch_;
  cuda::DeviceStep step_{};
};

}  // namespace support
