#include "kernels/api/backend.h"
#include "kernels/cuda/device_step.h"
#include "kernels/cuda/simple/simple.h"

using namespace support;

namespace {

/// A step whose weights are only a shape.
struct ShapeStep {
  explicit ShapeStep(const ModelShape& s) {
    weights.shape = s;
    step.weights = &weights;
  }
  cuda::DeviceWeights weights{};
  cuda::DeviceStep step{};
};

}  // namespace

TEST_CASE("cuda simple embed: rows of the table, in each number") {
  Random random(21);
  const ModelShape s = odd_shape();
  for (const int32_t number : {kF32, kBF16, kF16}) {
    const std::vector<char> table = encode(random.vector(s.n_vocab * s.hidden), number);
    const std::vector<int32_t> tokens = {3, 0, 10, 3};
    const Matrix matrix{plain(number), s.n_vocab, s.hidden, table.data()};
    std::vector<float> want(4 * static_cast<size_t>(s.hidden)), got(want.size());
    const EmbedArgs<float> args{&matrix, tokens.data(), 4, want.data()};
    const Workers workers(1);
    generic_backend()->ops->embed(workers.get(), &args);
    ShapeStep on(s);
    on.step.n_tokens = 4;
    on.step.tokens = tokens.data();
    const cuda::DeviceMatrix on_device{cuda::layout_of(plain(number), s.n_vocab, s.hidden),
                                       table.data(), 1.0f, 0};
    CHECK(cuda::simple_ops()->embed(on.step, on_device, got.data()) == cudaSuccess);
    CHECK(same_bits(got, want));
  }
}

TEST_CASE("cuda simple rms_norm: the bits of the CPU's, any width, in place") {
  Random random(22);
  const Workers workers(1);
  for (const int32_t width : {1, 15, 16, 70, 333}) {
    const std::vector<float> x = random.vector(3 * width), weight = random.vector(width);
    ShapeStep on(odd_shape());
    std::vector<float> want(x.size()), got(x.size()), in_place = x;
    const RmsNormArgs<float> args{x.data(), weight.data(), on.weights.shape.rms_norm_eps,
                                  3,        width,         want.data()};
    generic_backend()->ops->rms_norm(workers.get(), &args);
    const auto* ops = cuda::simple_ops();
    CHECK(ops->rms_norm(on.step, x.data(), weight.data(), 3, width, got.data()) == cudaSuccess);
    CHECK(same_bits(got, want));
    CHECK(ops->rms_norm(on.step, in_place.data(), weight.data(), 3, width, in_place.data()) ==
          cudaSuccess);
    CHECK(same_bits(in_place, want));
  }
}

TEST_CASE(
    "cuda simple rope_table: the bits of the CPU's up to the last position of long contexts") {
  const Workers workers(1);
  for (const int32_t rotary_dim : {2, 6, 64}) {
    ModelShape s = odd_shape();
    s.rotary_dim = rotary_dim;
    ShapeStep on(s);
    const std::vector<int32_t> positions = {0, 1, 2, 63, 511, 4096, 196607, 1000000};
    std::vector<float> want(positions.size() * static_cast<size_t>(rotary_dim)), got(want.size());
    const auto n = static_cast<int32_t>(positions.size());
    const RopeTableArgs<float> args{positions.data(), n, rotary_dim, s.rope_theta, want.data()};
    generic_backend()->ops->rope_table(workers.get(), &args);
    on.step.n_tokens = n;
    on.step.positions = positions.data();
    CHECK(cuda::simple_ops()->rope_table(on.step, got.data()) == cudaSuccess);
    CHECK(same_bits(got, want));
  }
}

TEST_CASE("cuda simple: rows with a number that is not finite are told from the others") {
  Random random(23);
  const ModelShape s = odd_shape();
  ShapeStep on(s);
  DeviceRows rows(64);
  rows.add(2, 0);
  rows.add(1, 5);
  rows.add(3, 0);
  rows.fill(on.step);
  std::vector<float> h = random.vector(6 * s.hidden);
  std::vector<int32_t> results(3, -1);
  on.step.buffers.h = h.data();
  on.step.row_results = results.data();
  CHECK(cuda::judge_rows(on.step) == cudaSuccess);
  CHECK(results == std::vector<int32_t>(3, kRowDone));
  h[static_cast<size_t>(s.hidden) + 69] = INFINITY;
  h[5 * static_cast<size_t>(s.hidden)] = NAN;
  CHECK(cuda::judge_rows(on.step) == cudaSuccess);
  CHECK(results == std::vector<int32_t>{kRowNotFinite, kRowDone, kRowNotFinite});

  const std::vector<int32_t> of_outputs = {1, 2, 5};
  std::vector<float> outputs(3 * static_cast<size_t>(s.hidden));
  on.step.output_tokens = of_outputs.data();
  on.step.n_outputs = 3;
  on.step.buffers.outputs = outputs.data();
  CHECK(cuda::gather_outputs(on.step) == cudaSuccess);
  for (size_t i = 0; i < 3; ++i) {
    const float* from = h.data() + of_outputs[i] * s.hidden;
    CHECK(std::memcmp(outputs.data() + i * static_cast<size_t>(s.hidden), from,
                      sizeof(float) * static_cast<size_t>(s.hidden)) == 0);
  }
}
