// Error statistics against their definition, and against what tools' cases say of themselves.
#include "tools/quantize/error.h"

#include <cmath>
#include <random>

#include "unit/tools/quantize/packing.h"

using namespace mm2;
using namespace support;

namespace {

Matrix normal(int64_t rows, int64_t cols, uint32_t seed, float spread) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> of(0, spread);
  Matrix m(rows, cols);
  for (float& x : m.values) x = of(generator);
  return m;
}

Matrix sum(const Matrix& a, const Matrix& b) {
  Matrix m = a;
  for (size_t i = 0; i < m.size(); ++i) m.values[i] += b.values[i];
  return m;
}

ErrorStats stats(const Matrix& a, const Matrix& b, int64_t rows, int64_t cols) {
  ErrorStats s;
  s.add_matrix(a.values.data(), b.values.data(), a.n_rows, a.n_cols, rows, cols);
  return s;
}

bool same(const ErrorReport& a, const ErrorReport& b) {
  return a.n_values == b.n_values && a.n_blocks == b.n_blocks && a.cosine == b.cosine &&
         a.one_minus_cosine == b.one_minus_cosine && a.relative_l2 == b.relative_l2 &&
         a.norm_ratio == b.norm_ratio && a.largest_error == b.largest_error &&
         a.sqnr_db == b.sqnr_db && a.block_p50 == b.block_p50 && a.block_p99 == b.block_p99 &&
         a.block_largest == b.block_largest;
}

}  // namespace

TEST_CASE("error: figures by their definitions in double") {
  const Matrix a = normal(30, 200, 1, 0.02f), b = sum(a, normal(30, 200, 2, 0.001f));
  double aa = 0, bb = 0, ab = 0, dd = 0, most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = a.values[i], y = b.values[i];
    aa += x * x, bb += y * y, ab += x * y, dd += (x - y) * (x - y);
    most = std::max<double>(most, std::fabs(b.values[i] - a.values[i]));
  }
  const ErrorReport r = stats(a, b, 7, 64).report();
  CHECK(r.n_values == 6000);
  CHECK(r.n_blocks == 5 * 4);
  CHECK(r.relative_l2 == Approx(std::sqrt(dd / aa)).epsilon(1e-13));
  CHECK(*r.norm_ratio == Approx(std::sqrt(bb / aa)).epsilon(1e-13));
  CHECK(r.cosine == Approx(ab / std::sqrt(aa * bb)).epsilon(1e-13));
  // 1 - cos by subtraction loses the digits that cos has before it
  CHECK(r.one_minus_cosine == Approx(1 - ab / std::sqrt(aa * bb)).margin(1e-14).epsilon(0));
  CHECK(r.largest_error == most);
  CHECK(*r.sqnr_db == Approx(10 * std::log10(aa / dd)).epsilon(1e-13));
  CHECK_FALSE(r.identical);
}

TEST_CASE("error: statistics do not depend on how blocks are spread and in which order") {
  const Matrix a = normal(64, 256, 5, 0.02f), b = sum(a, normal(64, 256, 6, 0.002f));
  const ErrorReport whole = stats(a, b, 16, 64).report();
  std::vector<ErrorStats> parts(3);
  for (int64_t r = 48; r >= 0; r -= 16) {
    for (int64_t c = 0; c < 256; c += 64) {
      parts[static_cast<size_t>((r / 16 + c / 64) % 3)].add_block(
          a.values.data() + r * 256 + c, b.values.data() + r * 256 + c, 16, 64, 256);
    }
  }
  parts[2].add(parts[0]);
  parts[2].add(parts[1]);
  CHECK(same(parts[2].report(), whole));
}

TEST_CASE("error: percentiles of blocks are within 0.8 % of those of the sorted list") {
  const Matrix a = normal(200, 64, 8, 1.0f);
  Matrix b = a;
  std::mt19937 generator(9);
  std::vector<double> blocks;
  for (int64_t r = 0; r < 200; ++r) {
    const float by = std::exp2(-static_cast<float>(generator() % 100) / 8);
    double aa = 0, dd = 0;
    for (int64_t i = r * 64; i < r * 64 + 64; ++i) {
      const auto at = static_cast<size_t>(i);
      b.values[at] = a.values[at] * (1 + by);
      const double off = static_cast<double>(b.values[at]) - a.values[at];
      dd += off * off;
      aa += static_cast<double>(a.values[at]) * a.values[at];
    }
    blocks.push_back(std::sqrt(dd / aa));
  }
  std::sort(blocks.begin(), blocks.end());
  const ErrorReport r = stats(a, b, 1, 64).report();
  CHECK(r.block_p50 == Approx(blocks[99]).epsilon(0.008));
  CHECK(r.block_p90 == Approx(blocks[179]).epsilon(0.008));
  CHECK(r.block_p99 == Approx(blocks[197]).epsilon(0.008));
  CHECK(r.block_largest == Approx(blocks[199]).epsilon(1e-6));
}

TEST_CASE("error: equal, zero, and unusable numbers are defined") {
  const Matrix a = normal(4, 32, 3, 1.0f), zero(4, 32);
  ErrorReport r = stats(a, a, 1, 32).report();
  CHECK(r.identical);
  CHECK(r.cosine == 1);
  CHECK(r.one_minus_cosine == 0);
  CHECK(*r.norm_ratio == 1);
  CHECK_FALSE(r.sqnr_db);
  CHECK(r.block_p99 == 0);
  r = stats(zero, zero, 1, 32).report();
  CHECK(r.n_zero_blocks == 4);
  CHECK_FALSE(r.norm_ratio);
  CHECK(r.relative_l2 == 0);
  r = stats(zero, a, 1, 32).report();
  CHECK(r.relative_l2 > 1);
  r = stats(a, zero, 1, 32).report();
  CHECK(r.relative_l2 == 1);
  CHECK(*r.norm_ratio == 0);
  Matrix broken = a;
  broken.values[40] = NAN;
  r = stats(a, broken, 1, 32).report();
  CHECK(r.n_unusable_blocks == 1);
  CHECK(r.relative_l2 == 0);
  CHECK_FALSE(r.identical);
  CHECK(ErrorStats{}.report().n_blocks == 0);
}

TEST_CASE("error: the cases of AutoRound and the FP8 merge have the errors that they say") {
  const ToolFile merge("fp8_merge/fp8_merge.safetensors");
  for (const Json& c : cases("fp8_merge/fp8_merge.json")) {
    if (c.at("t").get<double>() != 0.5) continue;
    const Matrix merged(merge, "t0.5/merged_f32");
    for (const std::string rule : {"amax", "mse"}) {
      CodedWhole whole;
      whole.codes = merge.read<uint8_t>("t0.5/" + rule + "/weight");
      whole.scales = merge.floats("t0.5/" + rule + "/weight_scale_inv");
      const PackSpec spec = spec_of("fp8_block", 150, 300);
      Matrix made(150, 300);
      dequantize_coded(spec, whole.rows(150), made.values.data());
      const ErrorReport r = stats(merged, made, 128, 128).report();
      const Json& want = c.at(rule).at("vs_merged");
      CHECK(r.relative_l2 == Approx(want.at("rel_l2").get<double>()).epsilon(1e-12));
      CHECK(*r.norm_ratio == Approx(want.at("norm_ratio").get<double>()).epsilon(1e-12));
      CHECK(r.largest_error == Approx(want.at("max_abs").get<double>()).epsilon(1e-6));
      CHECK(r.one_minus_cosine ==
            Approx(want.at("one_minus_cos").get<double>()).margin(1e-14).epsilon(0));
      CHECK(r.n_zero_blocks == 1);
      CHECK(count_codes(spec, whole.rows(150)).n_saturated ==
            c.at(rule).at("saturated_codes").get<uint64_t>());
    }
  }
}

TEST_CASE("error: codes that saturate, are zero or subnormal are counted") {
  PackSpec spec = spec_of("fp8_row", 1, 256);
  CodedWhole whole;
  for (int i = 0; i < 256; ++i) whole.codes.push_back(static_cast<uint8_t>(i));
  CodeCounts counts = count_codes(spec, whole.rows(1));
  CHECK(counts.n == 256);
  CHECK(counts.n_saturated == 2);
  CHECK(counts.n_zero == 2);
  CHECK(counts.n_subnormal == 14);
  spec = spec_of("nvfp4", 1, 16);
  whole.codes.resize(16);
  counts = count_codes(spec, whole.rows(1));
  CHECK(counts.n_saturated == 2);
  CHECK(counts.n_zero == 2);
  CHECK(counts.n_subnormal == 2);
  spec = spec_of("gptq", 1, 16, 8);
  whole.zeros = {8, 3};
  counts.add(count_codes(spec, whole.rows(1)));
  CHECK(counts.n == 32);
  CHECK(counts.n_saturated == 4);
  CHECK(counts.n_zero == 2);  // 8 is in the second group, whose zero is 3
}
