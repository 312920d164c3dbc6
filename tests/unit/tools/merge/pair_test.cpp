// How far two tensors are apart, against tests/data/tools/{slurpy,pair}, and the merge of every tensor
// of a small checkpoint.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tools/merge/pair_scan.h"
#include "tools/merge/schedule.h"
#include "tools/merge/slab_merge.h"
#include "unit/tools/merge/merge_data.h"

using namespace mm2;
using merge_data::File;
using merge_data::Tensor;

namespace {

PairFigures scan(const Tensor& a, const Tensor& b, int64_t rows = 0) {
  PairScan scan("x", a.shape);
  const int64_t n_rows = a.shape.n_rows(), n_cols = a.shape.n_cols();
  if (rows == 0) rows = n_rows;
  for (int64_t r = 0; r < n_rows; r += rows) {
    const Status status = scan.add(r, std::min(rows, n_rows - r), a.values.data() + r * n_cols,
                                   b.values.data() + r * n_cols);
    REQUIRE(status.ok());
  }
  auto figures = scan.finish();
  REQUIRE(figures.ok());
  return *figures;
}

bool near(double got, double wanted, double relative, double absolute = 0) {
  return std::abs(got - wanted) <= relative * std::abs(wanted) + absolute;
}

// 1 - cosine comes from a difference of sums that are right to about n * 2^-53 in the worst case;
// random signs leave about sqrt(n).
constexpr double kDeltaNoise = 1e-15;

}  // namespace

TEST_CASE("pair: figures of single pairs are those of FP64") {
  const File file(merge_data::kTools + "slurpy/pairs.safetensors");
  const Json facts = golden::read_json(merge_data::kTools + "slurpy/slurpy.json");
  REQUIRE(facts.at("pairs").size() == 6);
  for (const Json& c : facts.at("pairs")) {
    const std::string name = c.at("case").get<std::string>();
    INFO(name);
    const PairFigures f = scan(file.read(name + "/a"), file.read(name + "/b"));
    const auto wanted = [&](const char* field) { return c.at(field).get<double>(); };
    CHECK(near(f.cosine, wanted("cos"), 1e-13));
    CHECK(near(f.one_minus_cosine, wanted("one_minus_cos"), 1e-11, kDeltaNoise));
    CHECK(near(f.rel_l2, wanted("rel_l2"), 1e-12));
    CHECK(near(f.norm_ratio, wanted("norm_ratio_b_over_a"), 1e-13));
    CHECK(near(f.max_abs_diff, wanted("max_abs_diff"), 1e-7));
    // An angle is the root of twice delta: where that is noise, so is its root.
    const double noise = std::sqrt(2 * kDeltaNoise);
    CHECK(near(f.angle, wanted("angle"), 1e-10, wanted("one_minus_cos") < 1e-10 ? noise : 1e-7));
    CHECK(near(f.rel_l2_if_only_turned, wanted("rel_l2_if_norms_were_equal"), 1e-10,
               wanted("one_minus_cos") < 1e-10 ? noise : 0));
    CHECK(static_cast<double>(f.n_equal) / static_cast<double>(f.n_elements) ==
          wanted("equal_values_share"));
  }
}

TEST_CASE("pair: scan, schedule and merge of a whole checkpoint are those of the reference") {
  const File a(std::string(MM2_TEST_DATA) + "/models/bf16_single/model.safetensors");
  const File b(merge_data::kTools + "pair/model_b/model.safetensors");
  const Json facts = golden::read_json(merge_data::kTools + "pair/pair.json");
  std::vector<ScheduleRow> rows;
  for (const Json& row : facts.at("rows")) {
    const std::string name = row.at("name").get<std::string>();
    INFO(name);
    const Tensor x = a.read(name), y = b.read(name);
    const PairFigures f = scan(x, y);
    const auto wanted = [&](const char* field) { return row.at(field).get<double>(); };
    CHECK(near(f.cosine, wanted("cos"), 1e-9));
    CHECK(near(f.one_minus_cosine, wanted("delta"), 1e-9, kDeltaNoise));
    CHECK(near(f.rel_l2, wanted("rel_l2"), 1e-9));
    CHECK(near(f.norm_ratio, wanted("norm_ratio_b_over_a"), 1e-9));
    CHECK(near(f.max_abs_diff, wanted("max_abs_diff"), 1e-7));
    CHECK((f.dd == 0) == row.at("bit_identical").get<bool>());
    rows.push_back({name, "", f.one_minus_cosine, 0});
  }
  REQUIRE(rows.size() == 177);
  const auto schedule = make_schedule(rows, {});
  REQUIRE(schedule.ok());
  CHECK(near(schedule->divisors[0].value, facts.at("p99_of_delta").get<double>(), 1e-9));
  for (size_t i = 0; i < rows.size(); ++i)
    CHECK(near(schedule->t[i], facts.at("rows")[i].at("t").get<double>(), 1e-9));
}

TEST_CASE("pair: every tensor of a checkpoint merges as mergekit merges it") {
  const File a(std::string(MM2_TEST_DATA) + "/models/bf16_single/model.safetensors");
  const File b(merge_data::kTools + "pair/model_b/model.safetensors");
  const Json facts = golden::read_json(merge_data::kTools + "pair/pair.json");
  size_t n_values = 0;
  for (const Json& row : facts.at("rows")) {
    const std::string name = row.at("name").get<std::string>();
    const Tensor x = a.read(name), y = b.read(name);
    for (const char* tag : {"t0.5", "slurpy"}) {
      INFO(name << " " << tag);
      const Json& c = row.at(tag);
      MergeRule rule;
      rule.base = 0;
      rule.t = c.at("t").get<double>();
      rule.parents.resize(2);
      std::vector<float> out(x.values.size());
      const float* parents[] = {x.values.data(), y.values.data()};
      REQUIRE(merge_tensor(rule, name, x.shape, parents, out.data()).ok());
      double norm = 0;
      for (float& value : out) {
        if (x.dtype == Dtype::bf16) value = bf16_to_f32(f32_to_bf16(value));
        norm += double{value} * value;
      }
      // Single values may fall on the other side of a BF16 step, which moves the norm by far less.
      CHECK(near(std::sqrt(norm), c.at("norm").get<double>(), 1e-5));
      const Json& first = c.at("first_values");
      for (size_t i = 0; i < first.size() && i < out.size(); ++i) {
        // One step of BF16, or FP32's rounding of two products.
        const double step = x.dtype == Dtype::bf16 ? 0x1p-7 : 0x1p-22;
        CHECK(near(out[i], first[i].get<double>(), step));
        ++n_values;
      }
    }
  }
  CHECK(n_values == 177u * 2 * 6);
}

TEST_CASE("pair: figures do not depend on how rows are cut into slabs") {
  Tensor a{Dtype::f32, Shape{300, 333}, std::vector<float>(300 * 333)};
  Tensor b = a;
  for (size_t i = 0; i < a.values.size(); ++i) {
    a.values[i] = std::sin(static_cast<float>(i) * 0.37f);
    b.values[i] = a.values[i] + 0.01f * std::cos(static_cast<float>(i) * 1.7f);
  }
  const PairFigures whole = scan(a, b);
  CHECK(whole.block_rel_l2.total() == 9);
  for (const int64_t rows : {1, 7, 128, 299}) {
    const PairFigures cut = scan(a, b, rows);
    const auto same = [](double x, double y) { return std::memcmp(&x, &y, sizeof x) == 0; };
    CHECK(same(cut.aa, whole.aa));
    CHECK(same(cut.ab, whole.ab));
    CHECK(same(cut.bb, whole.bb));
    CHECK(same(cut.dd, whole.dd));
    CHECK(same(cut.sum_abs_diff, whole.sum_abs_diff));
    CHECK(same(cut.one_minus_cosine, whole.one_minus_cosine));
    CHECK(cut.block_rel_l2.counts() == whole.block_rel_l2.counts());
  }
}

TEST_CASE("pair: zero tensors have figures too") {
  const Tensor zero{Dtype::f32, Shape{5, 7}, std::vector<float>(35, 0.0f)};
  Tensor one = zero;
  one.values[3] = 2;
  const PairFigures same = scan(zero, zero);
  CHECK(same.cosine == 1);
  CHECK(same.one_minus_cosine == 0);
  CHECK(same.rel_l2 == 0);
  CHECK(same.norm_ratio == 1);
  CHECK(same.n_equal == 35);
  CHECK(same.n_zero_blocks_a == 1);
  const PairFigures from_zero = scan(zero, one);
  CHECK(from_zero.cosine == 0);
  CHECK(from_zero.one_minus_cosine == 1);
  CHECK(std::isinf(from_zero.rel_l2));
  CHECK(std::isinf(from_zero.norm_ratio));
  CHECK(scan(one, zero).rel_l2 == 1);
}

TEST_CASE("pair: NaN is refused with tensor, side and place") {
  Tensor a{Dtype::f32, Shape{40, 9}, std::vector<float>(360, 1.0f)};
  Tensor b = a;
  b.values[20 * 9 + 4] = std::nanf("");
  PairScan scan("model.x", a.shape);
  REQUIRE(scan.add(0, 11, a.values.data(), b.values.data()).ok());
  const Status status = scan.add(11, 29, a.values.data() + 99, b.values.data() + 99);
  CHECK(status.code() == Code::numeric);
  CHECK(status.message() == "comparing model.x: B has NaN at row 20, column 4");
}

TEST_CASE("pair: the floor of FP8 takes away what quantisation alone adds") {
  // Two FP8 copies of the same weights: 1 - cos is about 7.0e-4 (two errors of 2.65 %).
  const double floor = 1 - (1 - kFp8BlockNoise * kFp8BlockNoise);
  CHECK(std::abs(floor - 7.02e-4) <= 1e-6);
  CHECK(without_noise(floor, kFp8BlockNoise, kFp8BlockNoise) <= 1e-12);
  CHECK(without_noise(floor / 2, kFp8BlockNoise, kFp8BlockNoise) == 0);
  // Latent 0.9953 is seen as 0.99462 after FP8.
  CHECK(std::abs(without_noise(1 - 0.99462, kFp8BlockNoise, kFp8BlockNoise) - 4.7e-3) <= 3e-5);
  CHECK(without_noise(0.005, 0, 0) == Approx(0.005).epsilon(1e-12));
  CHECK(std::abs(slerp_gain(0.9946, 0.5) - 0.00135) <= 1e-5);
}

TEST_CASE("pair: a log histogram can be added up and is right to one sixteenth") {
  LogHistogram all, first, second;
  std::vector<double> values;
  for (int i = 1; i <= 2000; ++i) {
    const double value = std::exp(-12.0 + 0.007 * i);
    values.push_back(value);
    all.add(value);
    (i % 3 == 0 ? first : second).add(value);
  }
  first.add(second);
  CHECK(first.counts() == all.counts());
  for (const double q : {0.01, 0.5, 0.9, 0.99, 1.0}) {
    const double exact = values[static_cast<size_t>(std::ceil(q * 2000)) - 1];
    CHECK(all.quantile(q) >= exact);
    CHECK(all.quantile(q) <= exact * (1 + 1.0 / 16 + 1e-12));
  }
  LogHistogram ends;
  ends.add(0);
  ends.add(1e-300);
  CHECK(ends.quantile(1) == 0);
  ends.add(std::numeric_limits<double>::infinity());
  CHECK(ends.quantile(1) == 256);
  CHECK(LogHistogram{}.quantile(0.5) == 0);
}
