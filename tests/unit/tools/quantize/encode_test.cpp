// Casts to E4M3 and E2M1 against their definition: the nearest code, the even one of two.
#include "tools/quantize/encode.h"

#include <cmath>

#include "tensor/convert.h"
#include "unit/tools/quantize/tool_data.h"

using namespace mm2;
using namespace mm2::coding;
using support::n_different;
using support::ToolFile;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// By definition: the nearest of `sizes`, the even index of two that are equally near.
int nearest_code(const std::vector<float>& sizes, float x, bool ties_down = false) {
  const double size = std::min<double>(std::fabs(x), sizes.back());
  int best = 0;
  for (int i = 1; i < static_cast<int>(sizes.size()); ++i) {
    const double here = std::fabs(size - sizes[static_cast<size_t>(i)]);
    const double there = std::fabs(size - sizes[static_cast<size_t>(best)]);
    if (here < there || (here == there && i % 2 == 0 && !ties_down)) best = i;
  }
  return best;
}

std::vector<float> e4m3_sizes() {
  std::vector<float> sizes;
  for (int i = 0; i < 127; ++i) sizes.push_back(e4m3_to_f32(static_cast<uint8_t>(i)));
  return sizes;
}
std::vector<float> e2m1_sizes() {
  return {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
}

// Codes, what is in the middle of two, and the floats next to these; then what saturates.
std::vector<float> interesting(const std::vector<float>& sizes) {
  std::vector<float> all{448, 463.9f, 464, 464.1f, 480, 1e9f, 3e38f, kInfinity, 1e-45f, 1e-30f};
  for (size_t i = 0; i < sizes.size(); ++i) {
    all.push_back(sizes[i]);
    if (i + 1 < sizes.size()) all.push_back((sizes[i] + sizes[i + 1]) / 2);
  }
  for (const float x : std::vector<float>(all)) {
    all.push_back(std::nextafter(x, kInfinity));
    all.push_back(std::nextafter(x, 0.0f));
  }
  for (const float x : std::vector<float>(all)) all.push_back(-x);
  return all;
}

}  // namespace

TEST_CASE("item 1: every code of E4M3 and E2M1 comes back from its number") {
  for (int i = 0; i < 256; ++i) {
    const auto code = static_cast<uint8_t>(i);
    if ((code & 0x7F) == 0x7F) continue;
    CHECK(e4m3_code(e4m3_to_f32(code)) == code);  // -0 among them
  }
  for (uint8_t code = 0; code < 16; ++code) {
    CHECK(e2m1_code(kernels::e2m1_to_f32(code)) == code);
    CHECK(e2m1_code_plus_zero(kernels::e2m1_to_f32(code)) == (code == 8 ? 0 : code));
  }
}

TEST_CASE("item 1: casts to E4M3 at all ties, beside them and beyond 448") {
  const auto sizes = e4m3_sizes();
  int64_t n_wrong = 0;
  for (const float x : interesting(sizes)) {
    const int sign = std::signbit(x) ? 0x80 : 0;
    n_wrong += e4m3_code(x) == (nearest_code(sizes, x) | sign) ? 0 : 1;
    n_wrong += e4m3_code(x) == kernels::f32_to_e4m3(x) ? 0 : 1;
  }
  CHECK(n_wrong == 0);
  for (const float x : {448.0f, 464.0f, 480.0f, 1e30f, kInfinity}) {
    CHECK(e4m3_code(x) == 0x7E);
    CHECK(e4m3_code(-x) == 0xFE);
  }
}

TEST_CASE("item 1: the cast to E4M3 of every BF16 number is that with branches") {
  int64_t n_wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float x = bf16_to_f32(static_cast<uint16_t>(bits));
    if (!std::isnan(x)) n_wrong += e4m3_code(x) == kernels::f32_to_e4m3(x) ? 0 : 1;
  }
  CHECK(n_wrong == 0);
}

TEST_CASE("item 1: casts to E2M1 at all ties, beside them and beyond 6") {
  const auto sizes = e2m1_sizes();
  int64_t n_wrong = 0;
  for (const float x : interesting(sizes)) {
    const int sign = std::signbit(x) ? 8 : 0;
    n_wrong += e2m1_code(x) == (nearest_code(sizes, x) | sign) ? 0 : 1;
    // ModelOpt's MXFP4: the same but for the ties, which all go down.
    const int down = nearest_code(sizes, x, true);
    n_wrong += e2m1_size_ties_down(x) == static_cast<uint32_t>(down) ? 0 : 1;
  }
  CHECK(n_wrong == 0);
}

TEST_CASE("item 1: torch and compressed-tensors cast as we do") {
  const ToolFile ct("quant/int4_fp8_ct.safetensors");
  const auto x = ct.floats("cast_e4m3/input");
  const auto torch = ct.read<uint8_t>("cast_e4m3/torch_no_saturation");
  REQUIRE(x.size() == torch.size());
  int64_t n_wrong = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!std::isnan(x[i])) n_wrong += e4m3_code(x[i]) == torch[i] ? 0 : 1;
  }
  CHECK(n_wrong == 0);

  const ToolFile fp4("quant/fp4_ct.safetensors");
  const auto y = fp4.floats("cast_e2m1/input"), values = fp4.floats("cast_e2m1/ct_value");
  REQUIRE(y.size() == values.size());
  for (size_t i = 0; i < y.size(); ++i) {
    n_wrong += kernels::e2m1_to_f32(e2m1_code(y[i])) == values[i] ? 0 : 1;
  }
  CHECK(n_wrong == 0);
}

TEST_CASE("encode: whole numbers nearest, ties to even, up to 2^21") {
  for (const float x : {0.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 7.49f, -8.0f, 127.5f, -2097151.5f}) {
    CHECK(nearest(x) == std::nearbyint(x));
    CHECK(static_cast<uint8_t>(nearest_bits(x)) ==
          static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(x))));
  }
  CHECK(power_of_two(-127) == std::ldexp(1.0f, -127));
  CHECK(power_of_two(-126) == std::ldexp(1.0f, -126));
  CHECK(power_of_two(127) == std::ldexp(1.0f, 127));
  for (uint32_t bits = 0; bits < 0x7f800000u; bits += 12345) {
    CHECK(narrow<Arithmetic::bf16>(float_of(bits)) == bf16_to_f32(f32_to_bf16(float_of(bits))));
    if (bits > 12345 * 20000u) bits += 12345 * 50u;
  }
}
