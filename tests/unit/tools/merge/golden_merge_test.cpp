// Every case of tests/data/tools/merge: what mergekit 0.1.5 gave.
#include <cmath>
#include <map>

#include "tools/merge/slab_merge.h"
#include "unit/tools/merge/merge_data.h"

using namespace mm2;
using merge_data::File;
using merge_data::Tensor;

namespace {

const std::string kFolder = merge_data::kTools + "merge/";

// The masks that the tool drew: a number below every chance, or above.
class RecordedDraw final : public Draw {
 public:
  std::map<int, std::vector<uint8_t>> masks;  // by parent
  void fill(int parent, int64_t first, std::span<double> to) const override {
    const auto& mask = masks.at(parent);
    for (size_t i = 0; i < to.size(); ++i)
      to[i] = mask[static_cast<size_t>(first) + i] != 0 ? 0.0 : 1.0;
  }
};

double number(const Json& from, const char* name, size_t i, double otherwise) {
  return from.contains(name) ? from.at(name).at(i).get<double>() : otherwise;
}

MergeRule rule_of(const Json& c, size_t n_parents) {
  MergeRule rule;
  rule.method = *merge_method_from_name(c.at("method").get<std::string>());
  rule.base = c.value("base", -1);
  const Json& p = c.contains("parameters") ? c.at("parameters") : c;
  if (p.contains("t")) rule.t = p.at("t").get<double>();
  if (p.contains("normalize")) rule.normalize = p.at("normalize").get<bool>();
  if (p.contains("rescale")) rule.rescale = p.at("rescale").get<bool>();
  rule.lambda = p.value("lambda", 1.0);
  rule.scale = p.value("scale", 1.0);
  rule.select_topk = p.value("select_topk", 1.0);
  rule.flatten = p.value("flatten", true);
  rule.along_rows = !p.value("row_wise", false);
  if (c.at("dtype") == "bf16") rule.arithmetic = MergeArithmetic::bf16;
  size_t moving = 0;
  for (size_t k = 0; k < n_parents; ++k) {
    ParentParameters parent;
    // The weights of methods with a base skip it.
    if (static_cast<int>(k) != rule.base) {
      if (p.contains("weight")) parent.weight = p.at("weight").at(moving).get<double>();
      parent.density = number(p, "density", moving, 1);
      parent.gamma = number(p, "gamma", moving, 0.01);
      parent.epsilon = number(p, "epsilon", moving, 0.15);
      ++moving;
    }
    rule.parents.push_back(parent);
  }
  return rule;
}

struct Case {
  std::string name;
  Json facts;
  std::vector<Tensor> parents;
  Tensor wanted;
};

std::vector<Case> all_cases(const File& file) {
  std::vector<Case> cases;
  const Json facts = golden::read_json(kFolder + "merge.json");
  for (const Json& c : facts.at("cases")) {
    Case one;
    one.name = c.at("case").get<std::string>();
    one.facts = c;
    for (const Json& name : c.at("inputs"))
      one.parents.push_back(file.read(name.get<std::string>()));
    one.wanted = file.read(c.at("output").get<std::string>());
    cases.push_back(std::move(one));
  }
  return cases;
}

struct Merged {
  std::vector<float> values;
  MergeFacts facts;
};

// In slabs of `rows` rows (0: all at once).
Merged merge(const MergeRule& rule, const Case& c, const Draw* draw, int64_t rows = 0) {
  auto made = SlabMerge::make(rule, c.name, c.parents[0].shape, draw);
  INFO(made.status().message());
  REQUIRE(made.ok());
  SlabMerge merge = *std::move(made);
  if (rows == 0) rows = merge.n_rows();
  const auto slab_at = [&](int64_t row, std::vector<const float*>& at) {
    at.clear();
    for (const Tensor& parent : c.parents)
      at.push_back(parent.values.data() + row * merge.n_cols());
    return MergeSlab{row, std::min(rows, merge.n_rows() - row), at};
  };
  std::vector<const float*> at;
  while (merge.wants_scan()) {
    for (int64_t r = 0; r < merge.n_rows(); r += rows) REQUIRE(merge.scan(slab_at(r, at)).ok());
    REQUIRE(merge.end_scan().ok());
  }
  Merged merged;
  merged.values.resize(c.wanted.values.size());
  // From the last slab to the first: the order must not matter.
  for (int64_t r = (merge.n_rows() - 1) / rows * rows; r >= 0; r -= rows) {
    const Status status = merge.apply(slab_at(r, at), merged.values.data() + r * merge.n_cols());
    INFO(status.message());
    REQUIRE(status.ok());
  }
  merged.facts = merge.facts();
  return merged;
}

RecordedDraw recorded(const File& file, const Case& c, const MergeRule& rule) {
  RecordedDraw draw;
  int mask = 0;
  for (int k = 0; k < static_cast<int>(rule.parents.size()); ++k) {
    if (k == rule.base || rule.parents[static_cast<size_t>(k)].density >= 1) continue;
    const std::string name = c.name + "/mask" + std::to_string(mask++);
    if (file.has(name)) draw.masks[k] = file.raw<uint8_t>(name);
  }
  return draw;
}

// Which elements of equal magnitude stay at a cut is not defined by the tool: those elements.
std::vector<bool> left_open(const Case& c, const MergeRule& rule, const MergeFacts& facts) {
  std::vector<bool> open(c.wanted.values.size());
  size_t moving = 0;
  for (size_t k = 0; k < c.parents.size(); ++k) {
    if (static_cast<int>(k) == rule.base || facts.cuts.empty()) continue;
    const MergeFacts::Cut cut = facts.cuts[moving++];
    for (size_t i = 0; i < open.size(); ++i) {
      float d = c.parents[k].values[i] - c.parents[static_cast<size_t>(rule.base)].values[i];
      if (rule.arithmetic == MergeArithmetic::bf16) d = bf16_to_f32(f32_to_bf16(d));
      const double magnitude = std::abs(double{d});
      if (magnitude != 0 && (magnitude == cut.low || magnitude == cut.high)) open[i] = true;
    }
  }
  return open;
}

struct Distance {
  double max_relative = 0;  // to the largest wanted value
  double l2 = 0;            // relative
  size_t n_differing = 0;
};

Distance distance(const std::vector<float>& got, const Tensor& wanted,
                  const std::vector<bool>& ignored) {
  Distance result;
  double top = 0, square = 0, all = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const float value = wanted.dtype == Dtype::bf16 ? bf16_to_f32(f32_to_bf16(got[i])) : got[i];
    top = std::max(top, std::abs(double{wanted.values[i]}));
    all += double{wanted.values[i]} * wanted.values[i];
    if (ignored[i]) continue;
    const double error = std::abs(double{value} - wanted.values[i]);
    result.max_relative = std::max(result.max_relative, error);
    square += error * error;
    result.n_differing += value != wanted.values[i] ? 1 : 0;
  }
  if (top > 0) result.max_relative /= top;
  result.l2 = all > 0 ? std::sqrt(square / all) : std::sqrt(square);
  return result;
}

}  // namespace

TEST_CASE("merge: every case of mergekit comes out, BF16 to the last bit") {
  const File file(kFolder + "merge.safetensors");
  size_t n_exact = 0;
  for (const Case& c : all_cases(file)) {
    INFO(c.name);
    const MergeRule rule = rule_of(c.facts, c.parents.size());
    const RecordedDraw draw = recorded(file, c, rule);
    const Merged merged = merge(rule, c, &draw);
    const std::vector<bool> ignored = left_open(c, rule, merged.facts);
    const Distance d = distance(merged.values, c.wanted, ignored);
    if (c.wanted.dtype == Dtype::f32) {
      // The tool computes in FP32 and says how far it is from FP64; at cos = -0.999 its FP32 angle
      // costs it 2e-5.
      const bool angle = c.name.find("near_antipodal_spherical") != std::string::npos;
      CHECK(d.max_relative <= (angle ? 1e-4 : 1e-6));
    } else if (rule.method == MergeMethod::nuslerp) {
      // The tool's own arithmetic is BF16 throughout: its coefficients are within 2^-8.
      CHECK(d.l2 <= 5e-3);
    } else {
      // Where the tool's FP32 rounds to another BF16 than the exact result, it says how often.
      const double share = c.facts.value("share_differing_from_rounded_f64", 0.0);
      CHECK(static_cast<double>(d.n_differing) <=
            share * static_cast<double>(merged.values.size()) + 1e-9);
      // What the tool leaves open is a handful of elements.
      CHECK(std::count(ignored.begin(), ignored.end(), true) <= 40);
      ++n_exact;
    }
  }
  CHECK(n_exact == 49);
}

TEST_CASE("merge: slerp takes the tool's branch with the coefficients of FP64") {
  const File file(kFolder + "merge.safetensors");
  size_t n = 0;
  for (const Case& c : all_cases(file)) {
    if (!c.facts.contains("coef_a")) continue;
    INFO(c.name);
    ++n;
    const MergeFacts facts = merge(rule_of(c.facts, 2), c, nullptr).facts;
    CHECK(facts.arc == (c.facts.at("branch") == "spherical"));
    CHECK(std::abs(facts.cosine - c.facts.at("cos_f64").get<double>()) <= 1e-13);
    // Near cos = 0.9995 an error of 1e-13 in it is one of 3e-12 in the angle's sine.
    CHECK(std::abs(facts.coefficients[0] - c.facts.at("coef_a").get<double>()) <= 1e-11);
    CHECK(std::abs(facts.coefficients[1] - c.facts.at("coef_b").get<double>()) <= 1e-11);
  }
  CHECK(n == 97);
}

TEST_CASE("merge: ties cuts at the tool's magnitude") {
  const File file(kFolder + "merge.safetensors");
  size_t n = 0;
  for (const Case& c : all_cases(file)) {
    if (!c.facts.contains("cut_magnitude")) continue;
    INFO(c.name);
    const MergeRule rule = rule_of(c.facts, c.parents.size());
    const MergeFacts facts = merge(rule, c, nullptr).facts;
    for (size_t k = 0; k < facts.cuts.size(); ++k) {
      if (rule.parents[k + 1].density >= 1) continue;  // nothing is cut
      CHECK(facts.cuts[k].low == c.facts.at("cut_magnitude").at(k).get<double>());
      ++n;
    }
  }
  CHECK(n == 20);
}

TEST_CASE("merge: della's probabilities are the tool's") {
  const File file(kFolder + "merge.safetensors");
  size_t n = 0;
  for (const Case& c : all_cases(file)) {
    if (c.facts.at("dtype") != "f32") continue;
    const MergeRule rule = rule_of(c.facts, c.parents.size());
    for (size_t k = 1; k < c.parents.size(); ++k) {
      const std::string name = c.name + "/prob" + std::to_string(k - 1);
      if (!file.has(name)) continue;
      INFO(name);
      const std::vector<float> wanted = file.read(name).values;
      const size_t n_cols = static_cast<size_t>(c.parents[0].shape.n_cols());
      for (size_t row = 0; row * n_cols < wanted.size(); ++row) {
        std::vector<float> difference(n_cols);
        for (size_t i = 0; i < n_cols; ++i)
          difference[i] =
              c.parents[k].values[row * n_cols + i] - c.parents[0].values[row * n_cols + i];
        const auto chance = della_probabilities(difference.data(), n_cols, rule.parents[k].density,
                                                rule.parents[k].epsilon);
        // The tool's are FP32 of a three-step expression around 1.
        for (size_t i = 0; i < n_cols; ++i)
          REQUIRE(std::abs(chance[i] - wanted[row * n_cols + i]) <= 4 * 0x1p-24);
        n += n_cols;
      }
    }
  }
  CHECK(n == 4 * 1536);
}

TEST_CASE("merge: our own draw keeps as many as the chances say") {
  const File file(kFolder + "merge.safetensors");
  for (const Case& c : all_cases(file)) {
    if (!c.facts.contains("masks")) continue;
    INFO(c.name);
    const MergeRule rule = rule_of(c.facts, c.parents.size());
    size_t mask = 0;
    for (size_t k = 1; k < c.parents.size(); ++k) {
      if (rule.parents[k].density >= 1) continue;
      const Json& info = c.facts.at("masks").at(mask++);
      const double expected = info.at("expected").get<double>();
      const double sigma = info.at("sigma").get<double>();
      const size_t n_cols = static_cast<size_t>(c.parents[0].shape.n_cols());
      const CounterDraw draw(7, c.name);
      double kept = 0;
      for (size_t first = 0; first < c.wanted.values.size(); first += n_cols) {
        std::vector<double> numbers(n_cols), chance(n_cols, rule.parents[k].density);
        draw.fill(static_cast<int>(k), static_cast<int64_t>(first), numbers);
        if (rule.method == MergeMethod::della || rule.method == MergeMethod::della_linear) {
          std::vector<float> d(n_cols);
          for (size_t i = 0; i < n_cols; ++i)
            d[i] = c.parents[k].values[first + i] - c.parents[0].values[first + i];
          chance = della_probabilities(d.data(), n_cols, rule.parents[k].density,
                                       rule.parents[k].epsilon);
        }
        for (size_t i = 0; i < n_cols; ++i) kept += numbers[i] < chance[i] ? 1 : 0;
      }
      // 5 sigma, and what the tool's BF16 chances are beside ours: up to 2^-9 of each.
      CHECK(std::abs(kept - expected) <= 5 * sigma + 1536 * 0x1p-9);
    }
  }
}

TEST_CASE("merge: rows may be cut into any slabs, applied in any order") {
  const File file(kFolder + "merge.safetensors");
  for (const Case& c : all_cases(file)) {
    INFO(c.name);
    MergeRule rule = rule_of(c.facts, c.parents.size());
    rule.seed = 5;
    const Merged whole = merge(rule, c, nullptr);
    for (const int64_t rows : {1, 5, 31}) {
      const Merged cut = merge(rule, c, nullptr, rows);
      REQUIRE(std::memcmp(cut.values.data(), whole.values.data(),
                          whole.values.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("merge: what the tool refuses is refused, and weights that add up to 0 besides") {
  const File file(kFolder + "merge.safetensors");
  const auto refused = [](const MergeRule& rule, const std::string& why) {
    const Status status = SlabMerge::make(rule, "some.weight", Shape{4, 4}).status();
    INFO(status.message());
    CHECK(status.code() == Code::invalid_argument);
    CHECK(status.message().find("some.weight") != std::string::npos);
    CHECK(status.message().find(why) != std::string::npos);
  };
  MergeRule rule;
  rule.method = MergeMethod::slerp;
  rule.base = 0;
  rule.t = 0.5;
  rule.parents.resize(3);
  refused(rule, "takes exactly 2 parents, there are 3");
  rule.parents.resize(2);
  CHECK(SlabMerge::make(rule, "x", Shape{4, 4}).ok());
  rule.base = -1;
  refused(rule, "needs a base model");
  rule.base = 0;
  rule.t.reset();
  refused(rule, "t is missing");
  rule.t = std::nan("");
  refused(rule, "t nan is not in 0..1");
  MergeRule ties;
  ties.method = MergeMethod::ties;
  ties.parents.resize(2);
  ties.parents[0].weight = ties.parents[1].weight = 1.0;
  refused(ties, "needs a base model");
  MergeRule della = ties;
  della.method = MergeMethod::della;
  della.base = 0;
  della.parents[1].density = 0.9;
  della.parents[1].epsilon = 0.2;
  refused(della, "density 0.9 -+ epsilon 0.2");
  MergeRule linear;
  linear.method = MergeMethod::linear;
  linear.parents.resize(2);
  linear.parents[0].weight = 1.0;
  refused(linear, "parent 1 has no weight");
  linear.parents[1].weight = -1.0;
  refused(linear, "the weights add up to 0");
  linear.normalize = false;
  CHECK(SlabMerge::make(linear, "x", Shape{4, 4}).ok());
}
