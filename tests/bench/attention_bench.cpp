// Attention of M2's shape (48 heads on 8 of 128): one token after a long context, and a chunk of a
// prompt. GFLOP/s of the two products against the compute probe.
#include <cmath>

#include "bench/weights.h"

namespace {

using namespace bench;
using namespace mm2::kernels;

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

double operations(const ModelShape& s, int32_t context, int32_t n_tokens) {
  const double positions = n_tokens * (context - (n_tokens - 1) / 2.0);
  return 4.0 * positions * s.n_heads * s.head_dim;
}

void measure_generic(Team& team, Probe& probe, int32_t number, const char* name, int32_t context,
                     int32_t n_tokens) {
  const ModelShape s = m2_shape();
  const Backend& backend = *generic_backend();
  constexpr int32_t kSize = 256;
  const int64_t bytes = backend.kv_block_bytes(&s, kSize, number);
  std::vector<int32_t> blocks;
  for (int32_t b = 0; b * kSize < context; ++b) blocks.push_back(b);
  const Bytes cache(bytes * static_cast<int64_t>(blocks.size()));
  uint64_t seed = 3;
  for (int64_t i = 0; i < bytes * static_cast<int64_t>(blocks.size()) / bytes_of(number); ++i) {
    const float x = random_float(seed);
    const uint16_t code = f32_to_bf16(x);
    std::memcpy(cache.data.get() + i * bytes_of(number),
                number == kF32 ? static_cast<const void*>(&x) : &code,
                static_cast<size_t>(bytes_of(number)));
  }
  const KvCache kv{cache.data.get(), 0, bytes, kSize, number};
  const StepRow row{0, n_tokens, context - n_tokens, 0, blocks.data()};
  std::vector<float> q(static_cast<size_t>(n_tokens * s.n_heads * s.head_dim)), y(q.size());
  for (float& v : q) v = random_float(seed);
  const Bytes scratch(backend.ops->scratch_bytes(&s, n_tokens, team.n_threads()));
  const AttentionArgs<float> args{&s,    q.data(), &row, 1,        n_tokens,
                                  kBF16, &kv,      0,    y.data(), scratch.data.get()};
  const auto figures = measure(
      n_tokens == 1 ? 20 : 6, operations(s, context, n_tokens) / 1e9,
      [&] { return probe.compute(); }, [&](int) { backend.ops->attention(team.get(), &args); });
  print(name, figures, "GFLOP/s");
}

// softmax(q k^T) v of whole matrices, a head per task. It computes what a causal mask would leave
// out, which does not count as work done.
void measure_eigen(Team& team, Probe& probe, const char* name, int32_t context, int32_t n_tokens) {
  const ModelShape s = m2_shape();
  std::vector<EigenMatrix> k, v, q, y;
  for (int32_t h = 0; h < s.n_kv_heads; ++h) {
    k.push_back(EigenMatrix::Random(context, s.head_dim));
    v.push_back(EigenMatrix::Random(context, s.head_dim));
    q.push_back(EigenMatrix::Random(n_tokens * 6, s.head_dim));
    y.push_back(EigenMatrix::Zero(n_tokens * 6, s.head_dim));
  }
  const auto figures = measure(
      n_tokens == 1 ? 20 : 6, operations(s, context, n_tokens) / 1e9,
      [&] { return probe.compute(); },
      [&](int) {
        team.run(s.n_kv_heads, [&](int32_t h, int32_t) {
          const auto i = static_cast<size_t>(h);
          EigenMatrix scores = q[i] * k[i].transpose() / std::sqrt(128.0f);
          const Eigen::VectorXf most = scores.rowwise().maxCoeff();
          scores = (scores.colwise() - most).array().exp().matrix();
          const Eigen::VectorXf total = scores.rowwise().sum();
          y[i].noalias() = total.cwiseInverse().asDiagonal() * (scores * v[i]);
        });
      });
  print(name, figures, "GFLOP/s");
}

}  // namespace

int main() {
  Team team(2);
  Probe probe(team);
  std::printf("48 heads on 8 of 128, %d threads; compute probe %.1f GFLOP/s\n", team.n_threads(),
              probe.compute());
  measure_generic(team, probe, kBF16, "generic, BF16 KV, 1 token at 16384", 16384, 1);
  measure_generic(team, probe, kF32, "generic, F32 KV, 1 token at 16384", 16384, 1);
  measure_eigen(team, probe, "Eigen, F32, 1 token at 16384", 16384, 1);
  measure_generic(team, probe, kBF16, "generic, BF16 KV, 512 tokens to 1024", 1024, 512);
  measure_generic(team, probe, kF32, "generic, F32 KV, 512 tokens to 1024", 1024, 512);
  measure_eigen(team, probe, "Eigen, F32, 512 tokens to 1024 (no mask)", 1024, 512);
}
