#include "kernels/cuda/device_step.h"
#include "kernels/cuda/simple/simple.h"

using namespace support;

namespace {

constexpr int32_t kTokens = 7;

void check_experts(Random& random, const NamedFormat& named, const NamedFormat& of_down,
                   int32_t activations) {
  const ModelShape s = odd_shape();
  std::vector<Weights> all;
  std::vector<DevicePacked> packed;
  std::vector<ExpertWeights> experts;
  std::vector<cuda::DeviceExpert> device_experts;
  for (int32_t i = 0; i < s.n_experts; ++i) {
    all.emplace_back(random, s.intermediate, s.hidden, named.format, 0.2f);
    all.emplace_back(random, s.intermediate, s.hidden, named.format, 0.2f);
    all.emplace_back(random, s.hidden, s.intermediate, of_down.format, 0.2f);
  }
  for (const Weights& weights : all) packed.emplace_back(weights);
  for (size_t i = 0; i < all.size(); i += 3) {
    experts.push_back({all[i].generic, all[i + 1].generic, all[i + 2].generic});
    device_experts.push_back({packed[i].matrix, packed[i + 1].matrix, packed[i + 2].matrix});
  }
  const std::vector<float> x = random.vector(kTokens * s.hidden);
  std::vector<float> h = random.vector(kTokens * s.hidden), got = h;
  std::vector<float> weights = random.vector(kTokens * s.top_k);
  std::vector<int32_t> ids;
  for (int32_t t = 0; t < kTokens; ++t) ids.insert(ids.end(), {t % 3, 3 + t % 2, 5 + t % 4});

  const Workers workers(1);
  const Memory scratch = scratch_for(s, kTokens, 1);
  const ExpertsArgs<float> args{&s,      x.data(),    experts.data(), ids.data(),   weights.data(),
                                kTokens, activations, h.data(),       scratch.get()};
  generic_backend()->ops->experts(workers.get(), &args);

  cuda::DeviceLayer layer{};
  layer.experts = device_experts.data();
  cuda::DeviceWeights on_device{};
  on_device.shape = s;
  on_device.layers = &layer;
  cuda::DeviceStep step{};
  step.weights = &on_device;
  step.n_tokens = kTokens;
  step.activations = activations;
  cuda::DeviceLimits limits{};
  limits.max_tokens = kTokens;
  const Memory room(cuda::simple_ops()->scratch_bytes(s, limits));
  step.buffers.scratch = static_cast<char*>(room.get());
  CHECK(cuda::simple_ops()->experts(step, 0, x.data(), ids.data(), weights.data(), got.data()) ==
        cudaSuccess);
  INFO(named.name << ", down " << of_down.name << ", activations " << activations);
  CHECK(same_bits(got, h));
}

}  // namespace

TEST_CASE("cuda simple experts: the bits of the CPU's in every format") {
  Random random(51);
  const ModelShape s = odd_shape();
  const auto up = all_formats(s.intermediate, s.hidden),
             down = all_formats(s.hidden, s.intermediate);
  for (size_t i = 0; i < up.size(); ++i) check_experts(random, up[i], down[i], kBF16);
  check_experts(random, up[0], down[3], kF32);
}

TEST_CASE("cuda simple router: ids and weights of the CPU's, ties and NaN too") {
  Random random(52);
  ModelShape s = odd_shape();
  s.n_experts = 70;
  std::vector<float> values = random.vector(int64_t{s.n_experts} * s.hidden, 0.3f);
  std::copy_n(values.begin(), s.hidden, values.begin() + 5 * s.hidden);  // a tie of 0 and 5
  const Weights gate(values, s.n_experts, s.hidden, kF32);
  const DevicePacked packed(gate);
  std::vector<float> bias = random.vector(s.n_experts, 0.1f);
  bias[0] = bias[5] = 2.0f;
  std::vector<float> x = random.vector(kTokens * s.hidden);
  x[3] = NAN;
  std::vector<int32_t> want_ids(static_cast<size_t>(kTokens * s.top_k)), ids(want_ids.size());
  std::vector<float> want(want_ids.size()), got(want.size());

  const Workers workers(1);
  const Memory scratch = scratch_for(s, kTokens, 1);
  const RouterArgs<float> args{&s,      x.data(),        &gate.generic, bias.data(),
                               kTokens, want_ids.data(), want.data(),   scratch.get()};
  generic_backend()->ops->router(workers.get(), &args);

  cuda::DeviceLayer layer{};
  layer.router = packed.matrix;
  layer.router_bias = bias.data();
  cuda::DeviceWeights weights{};
  weights.shape = s;
  weights.layers = &layer;
  cuda::DeviceStep step{};
  step.weights = &weights;
  step.n_tokens = kTokens;
  step.activations = kBF16;  // the router does not round
  cuda::DeviceLimits limits{};
  limits.max_tokens = kTokens;
  const Memory room(cuda::simple_ops()->scratch_bytes(s, limits));
  step.buffers.scratch = static_cast<char*>(room.get());
  CHECK(cuda::simple_ops()->router(step, 0, x.data(), ids.data(), got.data()) == cudaSuccess);
  CHECK(ids == want_ids);
  CHECK(same_bits(std::vector<float>(got.begin() + s.top_k, got.end()),
                  std::vector<float>(want.begin() + s.top_k, want.end())));
  CHECK(std::isnan(got[0]));
  CHECK(std::isnan(want[0]));
}
