// Runs on the emulator.
#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

#include "cuda_emulator/emulator.h"
#include "kernels/cuda/gemm/gemm.h"
#include "support/device_array.h"
#include "support/packed_weights.h"

namespace mm2::kernels::cuda {
namespace {

using support::DeviceArray;
using support::PackedWeights;

std::vector<float> random_floats(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& one : x) one = normal(random);
  return x;
}

std::vector<float> product_of(const PackedWeights& w, const Cut& cut, const std::vector<float>& x,
                              int32_t n_tokens, const std::vector<float>& add, int32_t n_processors,
                              float output_scale = 1.0f) {
  const int32_t width = dense_width(n_tokens);
  const int64_t n_tiles = divide_up(n_tokens, width);
  const DeviceArray<uint8_t> tiles(
      static_cast<size_t>(n_tiles * tile_bytes(width, w.layout.n_records)));
  const DeviceArray<uint32_t> packed(w.packed);
  REQUIRE(pack_tokens(x.data(), n_tokens, w.layout.n_in, width, tiles.get(), nullptr) ==
          cudaSuccess);
  std::vector<float> y(static_cast<size_t>(n_tokens * w.layout.n_out), NAN);
  std::vector<float> partials(
      static_cast<size_t>(dense_partial_bytes(w.layout, cut, n_tokens, n_processors) / 4), NAN);
  DenseProduct p{};
  p.layout = w.layout;
  p.w = {reinterpret_cast<const char*>(packed.get()), output_scale, output_scale != 1.0f ? 1 : 0};
  p.cut = cut;
  p.x = tiles.get();
  p.n_tokens = n_tokens;
  p.add = add.empty() ? nullptr : add.data();
  p.y = y.data();
  p.y_stride = w.layout.n_out;
  p.partials = partials.data();
  REQUIRE(dense_product(p, n_processors, nullptr) == cudaSuccess);
  REQUIRE(std::string(cuda_emulator::last_failure()) == "");
  return y;
}

}  // namespace

TEST_CASE("dense: products of every format are the numbers' products, with tails everywhere") {
  constexpr int64_t kOut = 200, kIn = 328;
  for (const support::WeightCase& c : support::kWeightCases) {
    INFO(c.name);
    const PackedWeights w(c.format, kOut, kIn, 5);
    const int32_t n = 19;
    const std::vector<float> x = random_floats(n * kIn, 7), add = random_floats(n * kOut, 8);
    const std::vector<float> y = product_of(w, {2, 2}, x, n, add, 1);
    double worst = 0;
    for (int64_t t = 0; t < n; ++t) {
      for (int64_t row = 0; row < kOut; ++row) {
        double sum = 0, size = 0;
        for (int64_t k = 0; k < kIn; ++k) {
          const double product =
              w.number(row, k) *
              double{bf16_to_f32(f32_to_bf16(x[static_cast<size_t>(t * kIn + k)]))};
          sum += product;
          size += std::fabs(product);
        }
        const double with_add = double{add[static_cast<size_t>(t * kOut + row)]};
        // 24 steps, 12 promotions at most, a sum of pieces and one with what is added.
        const double bound = 40 * 0x1p-24 * (size + std::fabs(with_add));
        worst = std::fmax(
            worst, std::fabs(y[static_cast<size_t>(t * kOut + row)] - sum - with_add) / bound);
      }
    }
    CHECK(worst <= 1);
  }
}

TEST_CASE("dense: neither the number of tokens nor that of processors changes a token's bits") {
  constexpr int64_t kOut = 136, kIn = 384;
  const PackedWeights w(support::kWeightCases[3].format, kOut, kIn, 5);
  const std::vector<float> x = random_floats(150 * kIn, 9);
  for (const Cut cut : {Cut{3, 1}, Cut{1, 3}, Cut{2, 2}}) {
    const std::vector<float> one = product_of(w, cut, x, 1, {}, 1);
    for (const int32_t n : {9, 30, 60, 150}) {
      for (const int32_t n_processors : {1, 2, 132}) {
        const std::vector<float> many = product_of(w, cut, x, n, {}, n_processors);
        for (size_t i = 0; i < one.size(); ++i) REQUIRE(bits_of(many[i]) == bits_of(one[i]));
      }
    }
  }
}

TEST_CASE("dense: the scale of the outputs comes before what is added") {
  constexpr int64_t kOut = 64, kIn = 128;
  const PackedWeights w(support::kWeightCases[11].format, kOut, kIn, 5);
  const std::vector<float> x = random_floats(10 * kIn, 9), add = random_floats(10 * kOut, 2);
  const std::vector<float> plain = product_of(w, {1, 1}, x, 10, {}, 1);
  for (const int32_t n_processors : {1, 132}) {
    const std::vector<float> y = product_of(w, {1, 1}, x, 10, add, n_processors, 3.0f);
    for (size_t i = 0; i < y.size(); ++i) REQUIRE(y[i] == add[i] + plain[i] / 3.0f);
  }
}

}  // namespace mm2::kernels::cuda
