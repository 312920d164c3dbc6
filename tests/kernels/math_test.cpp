#include "kernels/api/math.h"
#include "kernels/cpu/common/attention.h"

#include "kernels/api/math_f64.h"
#include "kernels/support.h"

using namespace support;

TEST_CASE("exp: within 2e-7 of e^x wherever that is a normal number") {
  double worst = 0;
  for (int64_t i = -8'735'000; i <= 8'872'000; ++i) {
    const float x = static_cast<float>(i) * 1e-5f;
    const double exact = std::exp(double{x});
    worst = std::max(worst, std::abs(double{exp_f32(x)} / exact - 1));
  }
  CHECK(worst <= 2e-7);
}

TEST_CASE("exp: subnormal, zero, infinite, NaN") {
  for (float x = -87.0f; x > -103.0f; x -= 0.37f) {
    // Half a step of the subnormal numbers, and what the polynomial loses.
    CHECK(std::abs(double{exp_f32(x)} - std::exp(double{x})) <=
          0x1p-149 + 2e-7 * std::exp(double{x}));
  }
  CHECK(exp_f32(0.0f) == 1.0f);
  CHECK(exp_f32(-200.0f) == 0.0f);
  CHECK(exp_f32(-INFINITY) == 0.0f);
  CHECK(std::isinf(exp_f32(89.0f)));
  CHECK(std::isinf(exp_f32(INFINITY)));
  CHECK(std::isnan(exp_f32(NAN)));
}

TEST_CASE("sigmoid: within 4e-7 of 1 / (1 + e^-x), from -80 to 80, and NaN of NaN") {
  double worst = 0;
  for (int64_t i = -800'000; i <= 800'000; ++i) {
    const float x = static_cast<float>(i) * 1e-4f;
    const double exact = 1 / (1 + std::exp(-double{x}));
    worst = std::max(worst, std::abs(double{sigmoid_f32(x)} / exact - 1));
  }
  CHECK(worst <= 4e-7);  // exp, one addition, one division
  CHECK(sigmoid_f32(-INFINITY) == 0.0f);
  CHECK(sigmoid_f32(INFINITY) == 1.0f);
  CHECK(std::isnan(sigmoid_f32(NAN)));
}

TEST_CASE("angles: logarithm, power, sine and cosine in FP64") {
  for (const double x : {1e-6, 0.3, 0.75, 1.0, 1.5, 2.0, 1e4, 5e6, 1e9}) {
    CHECK(std::abs(log_f64(x) - std::log(x)) <= 4e-16 * std::max(1.0, std::abs(std::log(x))));
  }
  double worst_exp = 0, worst_angle = 0;
  for (int i = 0; i < 20000; ++i) {
    const double y = -20 + i * 0.001;
    worst_exp = std::max(worst_exp, std::abs(exp_f64(y) / std::exp(y) - 1));
    const double angle = i * 61.803398875;  // up to 1.2 million
    const auto at = sin_cos_f64(angle);
    worst_angle = std::max(
        {worst_angle, std::abs(at.sin - std::sin(angle)), std::abs(at.cos - std::cos(angle))});
  }
  CHECK(worst_exp <= 1e-15);
  CHECK(worst_angle <= 1e-15);
}

TEST_CASE("2^x: within 2e-7 from -64 to 0 and above it, 2^-64 below, exactly 1 of 0, NaN of NaN") {
  double worst = 0;
  for (int32_t i = 0; i <= 1'000'000; ++i) {
    const float x = -64.0f + static_cast<float>(i) * 6.5e-5f;
    worst = std::max(worst, std::abs(exp2_f32(x) / std::exp2(double{x}) - 1));
  }
  CHECK(worst <= 2e-7);
  CHECK(exp2_f32(0.0f) == 1.0f);
  CHECK(exp2_f32(-64.5f) == 0x1p-64f);
  CHECK(exp2_f32(-3.4e38f) == 0x1p-64f);
  CHECK(exp2_f32(-INFINITY) == 0x1p-64f);
  CHECK(std::isnan(exp2_f32(NAN)));
}
