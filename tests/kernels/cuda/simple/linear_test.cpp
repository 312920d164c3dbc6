#include "kernels/cuda/simple/simple.h"

#include <cuda_emulator/emulator.h>

#include <string>

#include "kernels/cuda/device_step.h"

using namespace support;

namespace {

struct Case {
  int64_t n_out, n_in;
  int32_t n_tokens, activations;
  bool adds;
};

void check_same(Random& random, const NamedFormat& named, const Case& c, float output_scale,
                bool divides) {
  Weights weights(random, c.n_out, c.n_in, named.format);
  weights.set_output(output_scale, divides);
  const DevicePacked packed(weights);
  const std::vector<float> x = random.vector(c.n_tokens * c.n_in);
  const std::vector<float> add = random.vector(c.n_tokens * c.n_out);
  std::vector<float> want(add.size()), got(add.size(), 0.0f);

  const Workers workers(1);
  ModelShape s = odd_shape();
  s.hidden = static_cast<int32_t>(c.n_in);
  const Memory scratch = scratch_for(s, c.n_tokens, 1);
  const LinearArgs<float> args{x.data(),     &weights.generic, c.adds ? add.data() : nullptr,
                               c.n_tokens,   c.activations,    want.data(),
                               scratch.get()};
  generic_backend()->ops->linear(workers.get(), &args);

  cuda::DeviceStep step{};
  step.activations = c.activations;
  CHECK(cuda::simple_ops()->linear(step, x.data(), c.n_tokens, packed.matrix,
                                   c.adds ? add.data() : nullptr, got.data()) == cudaSuccess);
  INFO(named.name << " [" << c.n_out << ", " << c.n_in << "] " << c.n_tokens << " tokens, numbers "
                  << c.activations);
  CHECK(same_bits(got, want));
  CHECK(std::string(cuda_emulator::last_failure()) == "");
}

}  // namespace

TEST_CASE("cuda simple linear: the bits of the CPU's kernels, every format, odd sizes") {
  Random random(11);
  for (const NamedFormat& named : all_formats(70, 300)) {
    for (const int32_t activations : {int32_t{kBF16}, int32_t{kF32}}) {
      check_same(random, named, {70, 300, 5, activations, false}, 1.0f, false);
      check_same(random, named, {70, 300, 1, activations, true}, 1.0f, false);
    }
  }
  for (const NamedFormat& named : all_formats(130, 127)) {
    check_same(random, named, {130, 127, 9, kBF16, true}, 1.0f, false);
  }
  for (const NamedFormat& named : all_formats(3, 1)) {
    check_same(random, named, {3, 1, 2, kBF16, false}, 1.0f, false);
  }
}

TEST_CASE("cuda simple linear: the scale of the output multiplies or divides after the sums") {
  Random random(12);
  for (const NamedFormat& named : all_formats(65, 130)) {
    check_same(random, named, {65, 130, 3, kBF16, true}, 0.37f, false);
    check_same(random, named, {65, 130, 3, kBF16, false}, 3.1f, true);
  }
}
