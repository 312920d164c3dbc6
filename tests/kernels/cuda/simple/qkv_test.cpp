#include "kernels/cuda/simple/cache.h"
#include "kernels/cuda/simple/simple.h"

using namespace support;

namespace {

void check_same(Random& random, const Format& f, int32_t number, int32_t activations) {
  const ModelShape s = odd_shape();
  const int32_t q_width = s.n_heads * s.head_dim, kv_width = s.n_kv_heads * s.head_dim;
  const Weights q(random, q_width, s.hidden, f), k(random, kv_width, s.hidden, f);
  const Weights v(random, kv_width, s.hidden, f);
  const DevicePacked device_q(q), device_k(k), device_v(v);
  const std::vector<float> q_norm = random.vector(q_width), k_norm = random.vector(kv_width);
  DeviceRows rows(64);
  rows.add(3, 62);
  rows.add(1, 7);
  TwoCaches caches(s, number, 64, rows.n_blocks());
  const int32_t n = rows.n_tokens();
  const std::vector<float> x = random.vector(n * s.hidden);
  std::vector<float> rope = random.vector(n * s.rotary_dim);
  std::vector<float> want_q(static_cast<size_t>(n * q_width)), got_q(want_q.size());
  std::vector<float> want_kv(static_cast<size_t>(n * 2 * kv_width)), got_kv(want_kv.size());

  const Workers workers(1);
  const std::vector<StepRow> host_rows = rows.host();
  const Memory scratch = scratch_for(s, n, 1);
  const QkvArgs<float> args{&s,
                            x.data(),
                            &q.generic,
                            &k.generic,
                            &v.generic,
                            q_norm.data(),
                            k_norm.data(),
                            rope.data(),
                            host_rows.data(),
                            static_cast<int32_t>(host_rows.size()),
                            n,
                            activations,
                            &caches.host,
                            0,
                            want_q.data(),
                            want_kv.data(),
                            scratch.get()};
  generic_backend()->ops->qkv(workers.get(), &args);

  cuda::DeviceLayer layer{};
  layer.q = device_q.matrix;
  layer.k = device_k.matrix;
  layer.v = device_v.matrix;
  layer.q_norm = q_norm.data();
  layer.k_norm = k_norm.data();
  cuda::DeviceWeights weights{};
  weights.shape = s;
  weights.layers = &layer;
  cuda::DeviceStep step{};
  step.weights = &weights;
  step.kv = caches.device;
  step.activations = activations;
  rows.fill(step);
  step.buffers.rope = rope.data();
  step.buffers.q = got_q.data();
  step.buffers.kv_work = got_kv.data();
  CHECK(cuda::simple_ops()->qkv(step, 0, x.data()) == cudaSuccess);
  CHECK(same_bits(got_q, want_q));
  CHECK(same_bits(got_kv, want_kv));
  for (size_t row = 0; row < rows.rows.size(); ++row) {
    const auto& r = rows.rows[row];
    CHECK(caches.of_device(rows, row, r.first_position, r.n_tokens) ==
          caches.of_host(rows, row, r.first_position, r.n_tokens));
  }
}

}  // namespace

TEST_CASE("cuda simple qkv: the bits of the CPU's, and the same numbers in the cache") {
  Random random(41);
  for (const int32_t number : {kF32, kBF16, kE4M3}) {
    check_same(random, plain(kBF16), number, kBF16);
    check_same(random, Format{kFp8, kF32, 8, 0, 0, 128, 128}, number, kBF16);
    check_same(random, plain(kF32), number, kF32);
  }
}
