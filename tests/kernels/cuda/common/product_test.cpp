// Runs on the emulator: one warpgroup multiplies packed records by tokens.
#include "kernels/cuda/common/product.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

#include "cuda_emulator/emulator.h"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/layout/pack.h"

namespace mm2::kernels::cuda {
namespace {

struct Case {
  const char* name;
  Format format;
};

const Case kCases[] = {
    {"BF16", plain(kBF16)},
    {"FP8, scales of 128 x 128", {kFp8, kF32, 8, 0, 0, 128, 128}},
    {"FP8, a scale for each row", {kFp8, kBF16, 8, 0, 0, 1, 128}},
    {"INT4, groups of 128", {kInteger, kBF16, 4, 0, 0, 1, 128}},
    {"INT4, groups of 64", {kInteger, kF16, 4, 0, 0, 1, 64}},
    {"INT4, groups of 32", {kInteger, kF32, 4, 0, 0, 1, 32}},
    {"INT4 with zeros, groups of 128", {kInteger, kF16, 4, 1, 0, 1, 128}},
    {"INT4 with zeros, groups of 64", {kInteger, kBF16, 4, 1, 0, 1, 64}},
    {"INT4 with zeros, groups of 32", {kInteger, kBF16, 4, 1, 0, 1, 32}},
    {"INT8", {kInteger, kBF16, 8, 0, 0, 1, 128}},
    {"INT8 with zeros", {kInteger, kF32, 8, 1, 0, 1, 256}},
    {"NVFP4", {kFp4, kE4M3, 4, 0, 0, 1, 16}},
    {"MXFP4", {kFp4, kE8M0, 4, 0, 0, 1, 32}},
};

/// 64 rows of random codes, packed.
struct Weights {
  WeightLayout layout;
  std::vector<uint32_t> packed;

  Weights(const Format& f, int64_t n_out, int64_t n_in, uint32_t seed)
      : layout(layout_of(f, n_out, n_in)) {
    std::mt19937 random(seed);
    const int64_t width = is_plain(f) ? bytes_of(f.number) : 1;
    std::vector<uint8_t> codes(static_cast<size_t>(n_out * n_in * width));
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] = static_cast<uint8_t>(random() & (layout.codes == kNibbles ? 15u : 255u));
      if (f.scheme == kFp8 && (codes[i] & 0x7F) == 0x7F) codes[i] = 0;
      // BF16 between 2^-8 and 2: the high byte is sign and exponent.
      if (is_plain(f) && i % 2 == 1) codes[i] = static_cast<uint8_t>((codes[i] & 0x83) | 0x3C);
    }
    const int64_t patches = n_patches(f, n_in);
    std::vector<float> scales(static_cast<size_t>(n_out * patches));
    std::vector<uint8_t> zeros(scales.size());
    for (int64_t i = 0; i < n_out * patches; ++i) {
      // Rows of a patch share its scale; what every kind of scale can hold, subnormal E4M3 too.
      const uint32_t word =
          f.patch_rows > 1 ? static_cast<uint32_t>(i % patches * 7 + 3) : random();
      const float size = static_cast<float>(word % 8 + 8) * 0x1p-9f;
      scales[static_cast<size_t>(i)] =
          f.number == kE8M0   ? std::ldexp(1.0f, static_cast<int>(word % 20) - 15)
          : f.number == kE4M3 ? e4m3_to_f32(static_cast<uint8_t>(word % 126 + 1))
                              : size;
      zeros[static_cast<size_t>(i)] =
          static_cast<uint8_t>(random() & (layout.codes == kNibbles ? 15u : 255u));
    }
    MatrixRows rows{f, n_out, n_in, 0, n_out, codes.data(), scales.data(), zeros.data(), nullptr};
    packed.resize(static_cast<size_t>(layout.bytes / 4));
    pack_on_host(&rows, packed.data());
  }

  double number(int64_t row, int64_t k) const {
    const double scale =
        is_plain(layout.format) ? 1 : double{scale_at(layout, packed.data(), row, k)};
    return scale * double{number_at(layout, packed.data(), row, k)};
  }
};

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
std::vector<float> multiply(const Weights& w, const std::vector<float>& x /* [kN, n_in] */) {
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
  for (const Case& c : kCases) {
    INFO(c.name);
    constexpr int kN = 8;
    const Weights w(c.format, 64, 256, 5);
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
  for (const Case& c : kCases) {
    INFO(c.name);
    const Weights w(c.format, 64, 128, 9);
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
  Format ordered = kCases[3].format;
  ordered.ordered = 1;
  CHECK(decoded(layout_of(ordered, 64, 128)).decoding == -1);
  CHECK(decoded(layout_of(plain(kF32), 64, 128)).decoding == -1);
  CHECK(decoded(layout_of(plain(kF16), 64, 128)).decoding == -1);
  CHECK_FALSE(with_product({-1, 0}, [](auto) {}));
  CHECK(with_product(decoded(layout_of(kCases[3].format, 64, 128)), [](auto) {}));
}

}  // namespace mm2::kernels::cuda
