// Runs on the emulator: one warpgroup multiplies packed records by tokens.
#include "kernels/cuda/common/product.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

#include "cuda_emulator/emulator.h"
#include "kernels/cuda/common/launch.h"
#include "support/packed_weights.h"

namespace mm2::kernels::cuda {
namespace {

using support::PackedWeights;

/// One block: y[64, N] of `n_records` records, D of each thread behind one another.
template <typename P, int kN>
__global__ void product_kernel(Records r, const uint8_t* packed, const uint8_t* x, int n_records,
                               float* y) {
  uint8_t* shared = shared_memory<uint8_t>();
  const int x_bytes = n_records * kN * 2 * kTileRowBytes;
  for (int i = static_cast<int>(threadIdx.x); i < x_bytes; i += 128) shared[i] = x[i];
  for (int i = static_cast<int>(threadIdx.x); i < n_records * r.bytes; i += 128) {
    shared[x_bytes + i] = packed[i];
  }
  __syncthreads();
  float sums[kN / 2] = {};
  Wgmma mma;
  for (int i = 0; i < n_records; ++i) {
    add_record<P, kN>(mma, r, shared + x_bytes + i * r.bytes,
                      k_major(tile_address(shared + i * kN * 2 * kTileRowBytes)), sums);
  }
  for (int i = 0; i < kN / 2; ++i) y[threadIdx.x * kN / 2 + static_cast<unsigned>(i)] = sums[i];
}

template <int kN>
std::vector<float> multiply(const PackedWeights& w, const std::vector<float>& x /* [kN, n_in] */) {
  const int n_records = static_cast<int>(w.layout.n_records);
  std::vector<uint8_t> tiles(static_cast<size_t>(n_records * kN * 2 * kTileRowBytes));
  for (uint32_t t = 0; t < kN; ++t) {
    for (uint32_t k = 0; k < static_cast<uint32_t>(w.layout.n_in); ++k) {
      const uint16_t code = f32_to_bf16(x[t * static_cast<size_t>(w.layout.n_in) + k]);
      memcpy(&tiles[k / 64 * kN * kTileRowBytes + tile_byte(t, k % 64)], &code, 2);
    }
  }
  std::vector<float> y(kN * 64);
  const Records r = records_of(w.layout);
  const bool known = with_product(decoded(w.layout), [&](auto product) {
    Launch how{1, 128};
    how.shared_bytes = tiles.size() + static_cast<size_t>(n_records * r.bytes);
    const auto* packed = reinterpret_cast<const uint8_t*>(w.packed.data());
    launch(product_kernel<decltype(product), kN>, how, r, packed, tiles.data(), n_records,
           y.data());
  });
  REQUIRE(known);
  CHECK(std::string(cuda_emulator::last_failure()).empty());
  return y;
}

std::vector<float> random_tokens(int n, int64_t n_in) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n * n_in));
  for (float& one : x) one = bf16_to_f32(f32_to_bf16(normal(random)));
  return x;
}

}  // namespace

TEST_CASE("product: every format's packed records times tokens are what the numbers say") {
  for (const support::WeightCase& c : support::kWeightCases) {
    INFO(c.name);
    constexpr int kN = 8;
    const PackedWeights w(c.format, 64, 256, 5);
    const std::vector<float> x = random_tokens(kN, 256);
    const std::vector<float> y = multiply<kN>(w, x);
    double worst = 0;
    for (int t = 0; t < 128; ++t) {
      for (int i = 0; i < kN / 2; ++i) {
        const Element at = element_of_d(t, i);
        double sum = 0, size = 0;
        for (int64_t k = 0; k < 256; ++k) {
          const double product =
              w.number(at.row, k) * double{x[static_cast<size_t>(at.column * 256 + k)]};
          sum += product;
          size += std::fabs(product);
        }
        // Sixteen steps and at most eight promotions, each rounded to 24 bits.
        const double bound = 24 * 0x1p-24 * size;
        worst = std::fmax(worst, std::fabs(y[static_cast<size_t>(t * kN / 2 + i)] - sum) / bound);
      }
    }
    CHECK(worst <= 1);
  }
}

TEST_CASE("product: a token's bits do not depend on how many others there are") {
  for (const support::WeightCase& c : support::kWeightCases) {
    INFO(c.name);
    const PackedWeights w(c.format, 64, 128, 9);
    const std::vector<float> x = random_tokens(32, 128);
    const std::vector<float> few = multiply<8>(w, x), many = multiply<32>(w, x);
    for (int t = 0; t < 128; ++t) {
      for (int i = 0; i < 4; ++i) {
        REQUIRE(bits_of(few[static_cast<size_t>(t * 4 + i)]) ==
                bits_of(many[static_cast<size_t>(t * 16 + i)]));
      }
    }
  }
}

TEST_CASE("product: what the fast kernels have no code for is said") {
  Format ordered = support::kWeightCases[3].format;
  ordered.ordered = 1;
  CHECK(decoded(layout_of(ordered, 64, 128)).decoding == -1);
  CHECK(decoded(layout_of(plain(kF32), 64, 128)).decoding == -1);
  CHECK(decoded(layout_of(plain(kF16), 64, 128)).decoding == -1);
  CHECK_FALSE(with_product({-1, 0}, [](auto) {}));
  CHECK(with_product(decoded(layout_of(support::kWeightCases[3].format, 64, 128)), [](auto) {}));
}

}  // namespace mm2::kernels::cuda
