// Attention of M2's shape (48 heads on 8 of 128). Decoding: one token of each sequence after 1K, 8K
// and 32K positions, GB/s of keys and values against the read probe. A prompt of 2K tokens: GFLOP/s
// of the products that a causal mask leaves, against the peaks of this machine.
#include <cmath>

#include "bench/backends.h"
#include "bench/weights.h"
#include "kernels/api/numbers.h"

namespace {

using namespace bench;
using namespace mm2::kernels;

constexpr int64_t kPoolBytes = int64_t{1400} << 20;  // beyond the caches: layers take turns
constexpr int32_t kBlockSize = 256;

ModelShape m2_shape() {
  ModelShape s{};
  s.n_layers = 1;
  s.hidden = 64;
  s.n_heads = 48;
  s.n_kv_heads = 8;
  s.head_dim = 128;
  s.rotary_dim = 64;
  s.n_experts = s.top_k = 1;
  s.intermediate = 64;
  s.n_vocab = 64;
  return s;
}

const char* name_of(int32_t number) {
  return number == kF32 ? "F32" : number == kBF16 ? "BF16" : "FP8";
}

/// Layers of KV of n_seqs sequences of `context` positions, as many as fill the pool; random codes
/// of numbers of about 1.
class Pool {
 public:
  Pool(const Backend& backend, const ModelShape& s, int32_t number, int32_t context, int32_t n_seqs,
       int64_t bytes)
      : number_(number), n_blocks_((context + kBlockSize - 1) / kBlockSize * n_seqs) {
    const int64_t block = backend.kv_block_bytes(&s, kBlockSize, number);
    layer_bytes_ = block * n_blocks_;
    n_layers_ = static_cast<int32_t>(bytes / layer_bytes_ + 1);
    memory_ = std::make_unique<Bytes>(layer_bytes_ * n_layers_);
    fill();
    for (int32_t b = 0; b < n_blocks_; ++b) blocks_.push_back(b);
    scales_.assign(static_cast<size_t>(n_layers_ * s.n_kv_heads), 0.015f);
    kv = {memory_->data.get(), layer_bytes_,  block, kBlockSize, number,
          scales_.data(),      scales_.data()};
  }

  int32_t n_layers() const { return n_layers_; }
  const int32_t* blocks(int32_t seq, int32_t n_seqs) const {
    return blocks_.data() + n_blocks_ / n_seqs * seq;
  }

  KvCache kv{};

 private:
  void fill() {
    uint64_t seed = 3;
    char* at = memory_->data.get();
    const int64_t n = layer_bytes_ / bytes_of(number_);
    for (int64_t i = 0; i < n; ++i) {
      const float x = 2 * random_float(seed);
      const uint16_t half = f32_to_bf16(x);
      const uint8_t code = f32_to_e4m3(x / 0.015f);
      if (number_ == kF32) std::memcpy(at + 4 * i, &x, 4);
      if (number_ == kBF16) std::memcpy(at + 2 * i, &half, 2);
      if (number_ == kE4M3) std::memcpy(at + i, &code, 1);
    }
    for (int32_t l = 1; l < n_layers_; ++l) {
      std::memcpy(at + l * layer_bytes_, at, static_cast<size_t>(layer_bytes_));
    }
  }

  int32_t number_, n_blocks_, n_layers_ = 0;
  int64_t layer_bytes_ = 0;
  std::unique_ptr<Bytes> memory_;
  std::vector<int32_t> blocks_;
  std::vector<float> scales_;
};

/// The last n_tokens of `context` positions of each sequence.
class Attention {
 public:
  Attention(const Backend& backend, Team& team, int32_t number, int32_t context, int32_t n_seqs,
            int32_t n_tokens, int64_t pool_bytes)
      : backend_(backend),
        team_(team),
        shape_(m2_shape()),
        pool_(backend, shape_, number, context, n_seqs, pool_bytes),
        scratch_(backend.ops->scratch_bytes(&shape_, n_seqs * n_tokens, team.n_threads())) {
    uint64_t seed = 5;
    for (int32_t i = 0; i < n_seqs; ++i) {
      rows_.push_back({i * n_tokens, n_tokens, context - n_tokens, 0, pool_.blocks(i, n_seqs)});
    }
    q_.resize(static_cast<size_t>(n_seqs * n_tokens * shape_.n_heads * shape_.head_dim));
    for (float& x : q_) x = 4 * random_float(seed);
    y_.resize(q_.size());
  }

  void run(int turn) {
    const auto n = static_cast<int32_t>(rows_.size());
    const AttentionArgs<float> args{&shape_,
                                    q_.data(),
                                    rows_.data(),
                                    n,
                                    n * rows_[0].n_tokens,
                                    kBF16,
                                    &pool_.kv,
                                    turn % pool_.n_layers(),
                                    y_.data(),
                                    scratch_.data.get()};
    backend_.ops->attention(team_.get(), &args);
  }

 private:
  const Backend& backend_;
  Team& team_;
  ModelShape shape_;
  Pool pool_;
  Bytes scratch_;
  std::vector<StepRow> rows_;
  std::vector<float> q_, y_;
};

void measure_decode(const Backend& backend, Team& team, Probe& probe, int32_t number,
                    int32_t context, int32_t n_seqs) {
  Attention attention(backend, team, number, context, n_seqs, 1, kPoolBytes);
  const double bytes = 2.0 * context * n_seqs * 8 * 128 * static_cast<double>(bytes_of(number));
  const int calls = std::max(1, static_cast<int>(64e6 / bytes));
  int turn = 0;
  const Figures f = measure(
      24, bytes * calls / 1e9, [&] { return probe.read(); },
      [&](int) {
        for (int i = 0; i < calls; ++i) attention.run(turn++);
      });
  char name[100];
  std::snprintf(name, sizeof name, "%s, %s KV, %d x %d positions, %.3f ms", backend.name,
                name_of(number), n_seqs, context, f.seconds / calls * 1e3);
  print(name, f, "GB/s");
}

void measure_prompt(const Backend& backend, Team& team, int32_t number, int32_t n_tokens) {
  Attention attention(backend, team, number, n_tokens, 1, n_tokens, 0);
  const double pairs = 0.5 * n_tokens * (n_tokens + 1.0);
  const double work = 4 * pairs * 48 * 128 / 1e9;
  double best = 1e9;
  attention.run(0);
  for (int i = 0; i < 8; ++i) {
    const double begin = now();
    attention.run(0);
    best = std::min(best, now() - begin);
  }
  const Peaks peaks = measure_peaks(team);
  std::printf("%s, %s KV, prompt of %d: %.2f ms, %.0f GFLOP/s, %.0f %% of FMA %.0f", backend.name,
              name_of(number), n_tokens, best * 1e3, work / best, 100 * work / best / peaks.fma,
              peaks.fma);
  if (peaks.bf16 > 0) {
    std::printf(", %.0f %% of vdpbf16ps %.0f", 100 * work / best / peaks.bf16, peaks.bf16);
  }
  std::printf("\n");
}

}  // namespace

// Arguments: the backend to measure, and the context: all where they are missing.
int main(int argc, char** argv) {
  Team team(2);
  Probe probe(team);
  const std::string only = argc > 1 ? argv[1] : "";
  const int32_t only_context = argc > 2 ? std::atoi(argv[2]) : 0;
  std::printf("48 heads on 8 of 128, %d threads; read probe %.1f GB/s\n", team.n_threads(),
              probe.read());
  for (const Backend* backend : backends_here()) {
    if (!only.empty() && only != backend->name) continue;
    for (const int32_t number : {kBF16, kE4M3}) {
      for (const int32_t n_seqs : {1, 8}) {
        for (const int32_t context : {1024, 8192, 32768}) {
          if (only_context != 0 && only_context != context) continue;
          measure_decode(*backend, team, probe, number, context, n_seqs);
        }
      }
      measure_prompt(*backend, team, number, 2048);
    }
  }
}
