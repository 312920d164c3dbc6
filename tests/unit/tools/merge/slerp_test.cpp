// The corners of slerp, and what no merge accepts.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "tools/merge/arc.h"
#include "tools/merge/slab_merge.h"

using namespace mm2;

namespace {

using Floats = std::vector<float>;
constexpr int64_t kRows = 24, kCols = 37;
constexpr size_t kN = kRows * kCols;

Floats random_floats(uint32_t seed, double size = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal(0, size);
  Floats values(kN);
  for (float& value : values) value = static_cast<float>(normal(engine));
  return values;
}

// A vector at the given cosine to `a`, of the same norm times `ratio`.
Floats at_cosine(const Floats& a, double cosine, double ratio, uint32_t seed) {
  const Floats other = random_floats(seed);
  double aa = 0, ao = 0;
  for (size_t i = 0; i < kN; ++i) {
    aa += double{a[i]} * a[i];
    ao += double{a[i]} * other[i];
  }
  std::vector<double> across(kN);
  double norm = 0;
  for (size_t i = 0; i < kN; ++i) {
    across[i] = other[i] - ao / aa * a[i];
    norm += across[i] * across[i];
  }
  const double sine = std::sqrt(1 - cosine * cosine) * std::sqrt(aa / norm);
  Floats result(kN);
  for (size_t i = 0; i < kN; ++i)
    result[i] = static_cast<float>(ratio * (cosine * a[i] + sine * across[i]));
  return result;
}

MergeRule slerp(double t) {
  MergeRule rule;
  rule.method = MergeMethod::slerp;
  rule.base = 0;
  rule.t = t;
  rule.parents.resize(2);
  return rule;
}

struct Merged {
  Floats values;
  MergeFacts facts;
};

Merged merged(const MergeRule& rule, const std::vector<Floats>& parents) {
  std::vector<const float*> at;
  for (const Floats& parent : parents) at.push_back(parent.data());
  auto merge = SlabMerge::make(rule, "w", Shape{kRows, kCols});
  INFO(merge.status().message());
  REQUIRE(merge.ok());
  while (merge->wants_scan()) {
    REQUIRE(merge->scan({0, kRows, at}).ok());
    REQUIRE(merge->end_scan().ok());
  }
  Merged result{Floats(kN), {}};
  REQUIRE(merge->apply({0, kRows, at}, result.values.data()).ok());
  result.facts = merge->facts();
  return result;
}

bool same_bits(const Floats& a, const Floats& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("slerp: identical parents give themselves") {
  const Floats a = random_floats(1);
  for (const double t : {0.0, 0.3, 0.5, 1.0}) {
    const Merged m = merged(slerp(t), {a, a});
    CHECK_FALSE(m.facts.arc);
    // (1 - t) + t is 1 to one rounding of FP64, which FP32 does not see.
    CHECK(same_bits(m.values, a));
  }
}

TEST_CASE("slerp: antipodal parents take the straight line and vanish in the middle") {
  const Floats a = random_floats(2);
  Floats b = a;
  for (float& value : b) value = -value;
  const Merged middle = merged(slerp(0.5), {a, b});
  CHECK_FALSE(middle.facts.arc);
  for (const float value : middle.values) REQUIRE(value == 0);
  const Merged quarter = merged(slerp(0.25), {a, b});
  for (size_t i = 0; i < kN; ++i) REQUIRE(quarter.values[i] == 0.5f * a[i]);
}

TEST_CASE("slerp: a zero vector is at a right angle to everything") {
  const Floats a = random_floats(3), zero(kN, 0.0f);
  const Merged m = merged(slerp(0.5), {a, zero});
  CHECK(m.facts.arc);
  CHECK(m.facts.cosine == 0);
  CHECK(std::abs(m.facts.coefficients[0] - std::sqrt(0.5)) <= 1e-15);
  for (const float value : merged(slerp(0.5), {zero, zero}).values) REQUIRE(value == 0);
}

TEST_CASE("slerp: t = 0 and t = 1 are the parents, every number equal") {
  // 1 * a + 0 * b: only the sign of a zero may change.
  const Floats a = random_floats(4), b = at_cosine(a, 0.3, 1.7, 5);
  CHECK(same_bits(merged(slerp(0), {a, b}).values, a));
  CHECK(same_bits(merged(slerp(1), {a, b}).values, b));
  MergeRule second = slerp(0);
  second.base = 1;
  CHECK(same_bits(merged(second, {a, b}).values, b));
  second.t = 1;
  CHECK(same_bits(merged(second, {a, b}).values, a));
}

TEST_CASE("slerp: the branch changes at a cosine of 0.9995") {
  const Floats a = random_floats(6);
  for (const double sign : {1.0, -1.0}) {
    const Merged below = merged(slerp(0.5), {a, at_cosine(a, sign * 0.99949, 1, 7)});
    CHECK(below.facts.arc);
    const Merged above = merged(slerp(0.5), {a, at_cosine(a, sign * 0.99951, 1, 7)});
    CHECK_FALSE(above.facts.arc);
    CHECK(above.facts.coefficients == std::vector<double>{0.5, 0.5});
  }
  // Exactly at the threshold the arc is still taken.
  CHECK(slerp_step(1, 0.9995, 1, 0.5).arc);
  CHECK_FALSE(slerp_step(1, std::nextafter(0.9995, 1.0), 1, 0.5).arc);
}

TEST_CASE("slerp: norms may differ by a factor of a million") {
  const Floats a = random_floats(8, 1e-3), b = at_cosine(a, 0.2, 1e6, 9);
  const Merged m = merged(slerp(0.25), {a, b});
  const double angle = std::acos(0.2);
  // cos is as exact as the FP32 numbers it is of: about 2^-24 over the square root of their count.
  CHECK(std::abs(m.facts.cosine - 0.2) <= 1e-7);
  CHECK(std::abs(m.facts.coefficients[0] - std::sin(0.75 * angle) / std::sin(angle)) <= 1e-6);
  CHECK(std::abs(m.facts.coefficients[1] - std::sin(0.25 * angle) / std::sin(angle)) <= 1e-6);
}

TEST_CASE("slerp: at the angle of two fine-tuned siblings it is lerp times 1.00135") {
  // cos 0.9946: the bulk of two parents of this family.
  const ArcStep step = slerp_step(1, 0.9946, 1, 0.5);
  CHECK(std::abs(step.first - 0.500676) <= 1e-6);
  CHECK(step.first == step.second);
}

TEST_CASE("merge: NaN and infinity in a parent are refused with tensor and place") {
  struct Bad {
    float value;
    const char* called;
  };
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Bad bad :
       {Bad{std::nanf(""), "NaN"}, Bad{infinity, "infinity"}, Bad{-infinity, "infinity"}}) {
    const Floats a = random_floats(10);
    Floats b = a;
    b[5 * kCols + 30] = bad.value;
    for (const MergeMethod method :
         {MergeMethod::slerp, MergeMethod::lerp}) {  // with a scan, without
      MergeRule rule = slerp(0.5);
      rule.method = method;
      Floats out(kN);
      const float* parents[] = {a.data(), b.data()};
      const Status status =
          merge_tensor(rule, "model.x.weight", Shape{kRows, kCols}, parents, out.data());
      CHECK(status.code() == Code::numeric);
      CHECK(status.message() == std::string("merging model.x.weight: parent 1 has ") + bad.called +
                                    " at row 5, column 30");
    }
  }
}

TEST_CASE("merge: a result beyond FP32 is refused with its place") {
  MergeRule rule;
  rule.method = MergeMethod::task_arithmetic;
  rule.base = 0;
  rule.parents.resize(2);
  rule.parents[1].weight = 1e30;
  const Floats base(kN, 0.0f);
  Floats other(kN, 1.0f);
  other[3] = 1e30f;
  Floats out(kN);
  const float* parents[] = {base.data(), other.data()};
  const Status status = merge_tensor(rule, "x", Shape{kRows, kCols}, parents, out.data());
  CHECK(status.code() == Code::numeric);
  CHECK(status.message() == "merging x: the result at row 0, column 3 is beyond FP32");
}

TEST_CASE("merge: slabs out of turn and shapes without elements are refused") {
  const Floats a = random_floats(11);
  const float* parents[] = {a.data(), a.data()};
  auto merge = SlabMerge::make(slerp(0.5), "x", Shape{kRows, kCols});
  REQUIRE(merge.ok());
  Floats out(kN);
  CHECK_FALSE(merge->apply({0, kRows, parents}, out.data()).ok());  // not scanned yet
  CHECK_FALSE(merge->scan({1, 1, parents}).ok());
  CHECK(merge->scan({0, 3, parents}).ok());
  CHECK_FALSE(merge->scan({2, 1, parents}).ok());
  CHECK_FALSE(merge->end_scan().ok());
  CHECK_FALSE(merge->scan({3, kRows, parents}).ok());  // more rows than there are
  CHECK_FALSE(SlabMerge::make(slerp(0.5), "x", Shape{0, 4}).ok());
}

TEST_CASE("merge: the draw depends on seed, tensor, parent and element") {
  const auto numbers = [](uint64_t seed, const char* name, int parent, int64_t first) {
    std::vector<double> to(64);
    CounterDraw(seed, name).fill(parent, first, to);
    return to;
  };
  const auto all = numbers(1, "a", 0, 0);
  CHECK(numbers(1, "a", 0, 0) == all);
  const auto later = numbers(1, "a", 0, 10);
  for (size_t i = 0; i < 54; ++i) CHECK(later[i] == all[i + 10]);
  CHECK(numbers(2, "a", 0, 0) != all);
  CHECK(numbers(1, "b", 0, 0) != all);
  CHECK(numbers(1, "a", 1, 0) != all);
  for (const double u : all) CHECK((u >= 0 && u < 1));
}

TEST_CASE("merge: equal magnitudes at a cut stay in the order of their places") {
  MergeRule rule;
  rule.method = MergeMethod::ties;
  rule.base = 0;
  rule.parents.resize(2);
  rule.parents[1].weight = 1;
  rule.parents[1].density = 0.5;
  const Floats base(kN, 0.0f);
  const Floats ones(kN, 1.0f);
  const Merged m = merged(rule, {base, ones});
  for (size_t i = 0; i < kN; ++i) REQUIRE(m.values[i] == (i < kN / 2 ? 1.0f : 0.0f));
  // breadcrumbs keeps as many where its share at the top is nothing.
  rule.method = MergeMethod::breadcrumbs;
  rule.parents[1].gamma = 0;
  CHECK(same_bits(merged(rule, {base, ones}).values, m.values));
}
