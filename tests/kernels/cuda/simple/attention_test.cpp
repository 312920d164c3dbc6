#include "kernels/cuda/simple/cache.h"
#include "kernels/cuda/simple/simple.h"

using namespace support;

namespace {

void check_same(Random& random, const ModelShape& s, int32_t number, int32_t activations) {
  DeviceRows rows(64);
  rows.add(1, 0);
  rows.add(5, 62);
  rows.add(1, 127);
  rows.add(3, 1100);
  TwoCaches caches(s, number, 64, rows.n_blocks());
  const int64_t width = int64_t{s.n_kv_heads} * s.head_dim;
  for (size_t row = 0; row < rows.rows.size(); ++row) {
    const auto& r = rows.rows[row];
    for (int64_t p = 0; p < r.first_position + r.n_tokens; ++p) {
      // Scores far apart, so that the greatest moves and weights fade.
      const std::vector<float> k = random.vector(width, 2.0f), v = random.vector(width);
      caches.put(rows, row, p, k.data(), v.data());
    }
  }
  const std::vector<float> q = random.vector(rows.n_tokens() * s.n_heads * s.head_dim, 2.0f);
  std::vector<float> want(q.size()), got(q.size());

  const Workers workers(1);
  const std::vector<StepRow> host_rows = rows.host();
  const Memory scratch = scratch_for(s, rows.n_tokens(), 1);
  const AttentionArgs<float> args{&s,
                                  q.data(),
                                  host_rows.data(),
                                  static_cast<int32_t>(host_rows.size()),
                                  rows.n_tokens(),
                                  activations,
                                  &caches.host,
                                  0,
                                  want.data(),
                                  scratch.get()};
  generic_backend()->ops->attention(workers.get(), &args);

  cuda::DeviceWeights weights{};
  weights.shape = s;
  cuda::DeviceStep step{};
  step.weights = &weights;
  step.kv = caches.device;
  step.activations = activations;
  rows.fill(step);
  std::vector<float> buffer = q;
  step.buffers.q = buffer.data();
  CHECK(cuda::simple_ops()->attention(step, 0, got.data()) == cudaSuccess);
  CHECK(same_bits(got, want));
}

}  // namespace

TEST_CASE("cuda simple attention: the bits of the CPU's in every cache, over chunks and tails") {
  Random random(31);
  for (const int32_t number : {kF32, kBF16, kE4M3}) {
    for (const int32_t activations : {kF32, kBF16}) {
      INFO("cache " << number << ", activations " << activations);
      check_same(random, odd_shape(), number, activations);
    }
  }
}

TEST_CASE("cuda simple attention: heads wider than a block of threads, one query for each head") {
  Random random(32);
  ModelShape s = odd_shape();
  s.n_heads = s.n_kv_heads = 2;
  s.head_dim = 97;
  check_same(random, s, kBF16, kBF16);
}
