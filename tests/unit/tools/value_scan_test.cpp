#include "tools/value_scan.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tensor/convert.h"
#include "tools/tool_options.h"

using namespace mm2;

TEST_CASE("value scan: every F16, BF16 and E4M3 code is judged as its value says") {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const auto bits = static_cast<uint16_t>(code);
    for (const Dtype dtype : {Dtype::f16, Dtype::bf16}) {
      const float value = dtype == Dtype::f16 ? f16_to_f32(bits) : bf16_to_f32(bits);
      const ValueCounts counts = scan_values(dtype, &bits, 1);
      REQUIRE(counts.n_nan == (std::isnan(value) ? 1 : 0));
      REQUIRE(counts.n_infinite == (std::isinf(value) ? 1 : 0));
    }
    if (code > 255) continue;
    const auto byte = static_cast<uint8_t>(code);
    REQUIRE(scan_values(Dtype::f8_e4m3, &byte, 1).n_nan == (std::isnan(e4m3_to_f32(byte)) ? 1 : 0));
  }
}

TEST_CASE("value scan: counts and the first place, in long, unaligned data of floats and doubles") {
  constexpr size_t kCount = 10007;
  std::vector<float> floats(kCount, -1.5f);
  floats[5000] = std::numeric_limits<float>::infinity();
  floats[4999] = std::numeric_limits<float>::quiet_NaN();
  floats[kCount - 1] = -std::numeric_limits<float>::infinity();
  std::vector<char> bytes(kCount * 4 + 1);
  std::memcpy(bytes.data() + 1, floats.data(), kCount * 4);
  const ValueCounts counts = scan_values(Dtype::f32, bytes.data() + 1, kCount);
  CHECK(counts.n_nan == 1);
  CHECK(counts.n_infinite == 2);
  CHECK(counts.first == 4999);
  const double doubles[3] = {0, std::numeric_limits<double>::max(),
                             std::numeric_limits<double>::quiet_NaN()};
  CHECK(scan_values(Dtype::f64, doubles, 3).first == 2);
  CHECK(scan_values(Dtype::f64, doubles, 2).n_nan == 0);
  CHECK_FALSE(has_special_values(Dtype::i32));
}

TEST_CASE("glob: stars and question marks") {
  CHECK(matches_glob("model.layers.3.w1", "*.w1"));
  CHECK(matches_glob("model.layers.3.w1", "model.*.?.w?"));
  CHECK(matches_glob("", "*"));
  CHECK(matches_glob("abab", "*ab"));
  CHECK_FALSE(matches_glob("abc", "ab"));
  CHECK_FALSE(matches_glob("ab", "ab?"));
  CHECK_FALSE(matches_glob("model.layers.3.w1", "*.w2"));
  CHECK_FALSE(matches_glob(std::string(20000, 'a'), "*a*a*a*a*a*a*b"));
}
