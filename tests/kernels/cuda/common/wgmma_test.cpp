#include "kernels/cuda/common/wgmma_rows.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <set>
#include <vector>

namespace mm2::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWidths[] = {8, 16, 32, 64, 96, 128};

/// Row-major numbers that BF16 holds: sums of 64 of their products are exact in double.
std::vector<float> random_numbers(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(n);
  for (float& x : numbers) x = bf16_to_f32(f32_to_bf16(normal(random)));
  return numbers;
}

void store(std::vector<uint8_t>& shared, uint32_t at, float x) {
  const uint16_t code = f32_to_bf16(x);
  shared[at] = static_cast<uint8_t>(code);
  shared[at + 1] = static_cast<uint8_t>(code >> 8);
}

uint32_t pair_of(float low, float high) {
  return f32_to_bf16(low) | uint32_t{f32_to_bf16(high)} << 16;
}

/// Registers of A of all threads: [128][4].
std::vector<uint32_t> fragments(const std::vector<float>& a, int depth, int k0) {
  std::vector<uint32_t> registers(kThreads * 4);
  for (int t = 0; t < kThreads; ++t) {
    for (int j = 0; j < 4; ++j) {
      const Element low = element_of_a(t, j, 0);
      const float* row = &a[static_cast<size_t>(low.row * depth + k0)];
      registers[static_cast<size_t>(t * 4 + j)] = pair_of(row[low.column], row[low.column + 1]);
    }
  }
  return registers;
}

/// One instruction by all threads: what each of them gets out of its quad and shared memory.
void multiply(std::vector<float>& d, int n, const std::vector<uint32_t>& registers,
              const SharedWindow& shared, uint64_t b, bool is_mn_major, bool accumulates) {
  for (int t = 0; t < kThreads; ++t) {
    uint32_t quad[4][4];
    for (int i = 0; i < 16; ++i) {
      quad[i / 4][i % 4] = registers[static_cast<size_t>((t / 4 * 4 + i / 4) * 4 + i % 4)];
    }
    float rows[2][16];
    row_of_a(quad, 0, rows[0]);
    row_of_a(quad, 1, rows[1]);
    multiply_rows(&d[static_cast<size_t>(t * n / 2)], n, t, rows, shared, b, is_mn_major,
                  accumulates);
  }
}

}  // namespace

TEST_CASE("wgmma: the registers of 128 threads hold each number of A once") {
  std::set<std::pair<int, int>> seen;
  for (int t = 0; t < kThreads; ++t) {
    for (int i = 0; i < 8; ++i) {
      const Element p = element_of_a(t, i / 2, i % 2);
      REQUIRE((p.row >= 0 && p.row < 64 && p.column >= 0 && p.column < 16));
      seen.insert({p.row, p.column});
    }
  }
  CHECK(seen.size() == 64 * 16);
  // The figure of the PTX ISA: thread 0 begins at [0, 0], its registers 1 and 2 are 8 rows and 8
  // columns further; threads 1 and 4 are two columns and one row further, warp 1 sixteen rows.
  CHECK((element_of_a(0, 1, 0).row == 8 && element_of_a(0, 1, 1).column == 1));
  CHECK((element_of_a(0, 2, 0).row == 0 && element_of_a(0, 2, 0).column == 8));
  CHECK((element_of_a(1, 0, 0).column == 2 && element_of_a(4, 0, 0).row == 1));
  CHECK((element_of_a(127, 3, 1).row == 63 && element_of_a(127, 3, 1).column == 15));
}

TEST_CASE("wgmma: the registers of 128 threads hold each number of D once, whatever N") {
  for (const int n : kWidths) {
    std::set<std::pair<int, int>> seen;
    for (int t = 0; t < kThreads; ++t) {
      for (int i = 0; i < n / 2; ++i) {
        const Element p = element_of_d(t, i);
        REQUIRE((p.row >= 0 && p.row < 64 && p.column >= 0 && p.column < n));
        seen.insert({p.row, p.column});
      }
    }
    CHECK(seen.size() == static_cast<size_t>(64 * n));
  }
  CHECK((element_of_d(0, 1).column == 1 && element_of_d(0, 2).row == 8 &&
         element_of_d(0, 4).column == 8));
  CHECK((element_of_d(33, 0).row == 16 && element_of_d(33, 0).column == 2));
}

TEST_CASE(
    "wgmma: the swizzle keeps every 1,024 bytes, 16 at a time, and spreads 8 rows over the banks") {
  for (uint32_t at = 0; at < 64 * 1024; ++at) {
    REQUIRE(swizzle(swizzle(at)) == at);
    REQUIRE((swizzle(at) / 1024 == at / 1024 && swizzle(at) % 16 == at % 16));
    REQUIRE(swizzle(at) / 128 == at / 128);
  }
  for (uint32_t word = 0; word < 8; ++word) {
    std::set<uint32_t> banks;
    for (uint32_t row = 0; row < 8; ++row) banks.insert(tile_byte(row, word * 8) % 128 / 16);
    CHECK(banks.size() == 8);
  }
}

TEST_CASE("wgmma: a descriptor says what it was made of") {
  for (uint32_t address = 0; address < 227 * 1024; address += 1024) {
    const DescriptorFields f = fields_of(k_major(address));
    REQUIRE((f.address == address && f.stride == 1024 && f.swizzled == 1 && f.base == 0));
    // The last step of a tile does not carry into the next field.
    REQUIRE(fields_of(k_major(address) + 3 * kStepKMajor).address == address + 96);
    const DescriptorFields m = fields_of(mn_major(address, 8192) + 3 * kStepMnMajor);
    REQUIRE((m.address == address + 6144 && m.leading == 8192 && m.stride == 1024));
  }
  // Bit positions as the PTX ISA has them.
  CHECK(descriptor({0x3FFF0, 0, 0, 0, 0}) == 0x3FFFu);
  CHECK(descriptor({0, 16, 0, 0, 0}) == uint64_t{1} << 16);
  CHECK(descriptor({0, 0, 16, 0, 0}) == uint64_t{1} << 32);
  CHECK(descriptor({0, 0, 0, 1, 0}) == uint64_t{1} << 49);
  CHECK(descriptor({0, 0, 0, 0, 1}) == uint64_t{1} << 62);
}

TEST_CASE("wgmma: the twin's product is the product, B K-major and MN-major") {
  constexpr int kDepth = 64;
  const std::vector<float> a = random_numbers(64 * kDepth, 1);
  for (const int n : kWidths) {
    for (const bool is_mn_major : {false, true}) {
      const std::vector<float> b =
          random_numbers(static_cast<size_t>(n * kDepth), 2);  // [n, depth]
      // A tile elsewhere than at 0, and shared memory that ends with it.
      const uint32_t first = 3 * 1024;
      const uint32_t tile = kDepth * kTileRowBytes;
      const auto tiles = static_cast<uint32_t>((n + 63) / 64);
      std::vector<uint8_t> bytes(first + (is_mn_major ? tiles * tile : n * 128u), 0xFF);
      for (int i = 0; i < n; ++i) {
        for (int k = 0; k < kDepth; ++k) {
          const auto row = static_cast<uint32_t>(i);
          const auto at = static_cast<uint32_t>(k);
          const uint32_t byte =
              is_mn_major ? row / 64 * tile + tile_byte(at, row % 64) : tile_byte(row, at);
          store(bytes, first + byte, b[static_cast<size_t>(i * kDepth + k)]);
        }
      }
      const SharedWindow shared{bytes.data(), static_cast<uint32_t>(bytes.size())};
      std::vector<float> d(static_cast<size_t>(kThreads * n / 2), NAN);
      for (int step = 0; step < kDepth / 16; ++step) {
        const auto s = static_cast<uint64_t>(step);
        const uint64_t descriptor = is_mn_major ? mn_major(first, tile) + s * kStepMnMajor
                                                : k_major(first) + s * kStepKMajor;
        multiply(d, n, fragments(a, kDepth, step * 16), shared, descriptor, is_mn_major, step > 0);
      }
      double worst = 0;
      for (int t = 0; t < kThreads; ++t) {
        for (int i = 0; i < n / 2; ++i) {
          const Element p = element_of_d(t, i);
          double sum = 0, size = 0;
          for (int k = 0; k < kDepth; ++k) {
            const double product = double{a[static_cast<size_t>(p.row * kDepth + k)]} *
                                   double{b[static_cast<size_t>(p.column * kDepth + k)]};
            sum += product;
            size += std::fabs(product);
          }
          // Four sums rounded to 24 bits, none greater than the sum of magnitudes.
          const double bound = 4 * 0x1p-24 * size;
          worst = std::fmax(worst, std::fabs(d[static_cast<size_t>(t * n / 2 + i)] - sum) / bound);
        }
      }
      CHECK(worst <= 1);
    }
  }
}

TEST_CASE("wgmma: the twin gives NaN for a descriptor that the tensor core would read otherwise") {
  const std::vector<uint8_t> bytes(2048, 0);
  const SharedWindow shared{bytes.data(), 2048};
  const auto is_nan = [&](uint64_t d, bool mn, uint32_t row) {
    return std::isnan(read_operand(shared, d, mn, row, 0));
  };
  CHECK_FALSE(is_nan(k_major(0), false, 15));
  CHECK(is_nan(k_major(0), false, 16));              // behind shared memory
  CHECK(is_nan(k_major(128), false, 0));             // a tile that begins between swizzles
  CHECK(is_nan(k_major(0) ^ 1ull << 62, false, 0));  // not swizzled
  CHECK(is_nan(mn_major(16, 1024), true, 0));
  CHECK_FALSE(is_nan(mn_major(1024, 1024), true, 63));
}

}  // namespace mm2::kernels::cuda
