#include "tools/experts/matching.h"

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "support/golden.h"
#include "tensor/convert.h"

using namespace mm2;

namespace {

const std::string kMatch = std::string(MM2_TEST_DATA) + "/tools/match/";

struct Rows {
  std::vector<float> values;
  int32_t n_experts = 0, hidden = 0;
  operator RouterRows() const { return {values, n_experts, hidden}; }  // NOLINT
};

Rows rows_of(const Checkpoint& file, const std::string& name) {
  const TensorInfo* info = file.find(name);
  REQUIRE(info != nullptr);
  Rows rows;
  rows.n_experts = static_cast<int32_t>(info->shape[0]);
  rows.hidden = static_cast<int32_t>(info->shape[1]);
  rows.values.resize(static_cast<size_t>(info->shape.n_elements()));
  if (info->dtype == Dtype::f32) {
    REQUIRE(file.read(*info, 0, info->bytes, rows.values.data()).ok());
  } else {
    std::vector<uint16_t> bits(rows.values.size());
    REQUIRE(info->dtype == Dtype::bf16);
    REQUIRE(file.read(*info, 0, info->bytes, bits.data()).ok());
    for (size_t i = 0; i < bits.size(); ++i) rows.values[i] = bf16_to_f32(bits[i]);
  }
  return rows;
}

// numpy's PCG64, as the golden file tells how to run it.
class Pcg64 {
 public:
  Pcg64(const std::string& state, const std::string& inc) : state_(hex(state)), inc_(hex(inc)) {}
  uint64_t next() {
    state_ = state_ * ((static_cast<Wide>(0x2360ED051FC65DA4u) << 64) + 0x4385DF649FCCF645u) + inc_;
    const auto mixed = static_cast<uint64_t>(state_ >> 64) ^ static_cast<uint64_t>(state_);
    return std::rotr(mixed, static_cast<int>(state_ >> 122));
  }
  std::vector<float> draw(size_t n) {
    std::vector<float> values(n);
    for (float& v : values) {
      v = static_cast<float>((static_cast<double>(next() >> 11) * 0x1p-53 - 0.5) * 2);
    }
    return values;
  }

 private:
  using Wide = unsigned __int128;
  static Wide hex(const std::string& text) {
    Wide value = 0;
    for (const char c : text) {
      value = value * 16 + static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return value;
  }
  Wide state_, inc_;
};

}  // namespace

TEST_CASE("matching: every golden pair of routers is matched with its margins, or refused") {
  const Json file = golden::read_json(kMatch + "match.json");
  const auto opened = Checkpoint::open(kMatch + "routers.safetensors", Host{});
  REQUIRE(opened.ok());
  int n_matched = 0, n_refused = 0;
  for (const Json& one : file.at("cases")) {
    const auto name = one.at("case").get<std::string>();
    INFO(name);
    const Rows original = rows_of(**opened, one.at("original").get<std::string>());
    const Rows reference = rows_of(**opened, one.at("reference").get<std::string>());
    const auto match = match_experts(original, reference, {});
    if (one.at("refuse").get<bool>()) {
      ++n_refused;
      const Status status = match.ok() ? match->verdict : match.status();
      CHECK(status.code() == Code::check_failed);
      for (const Json& id : one.value("duplicates", Json::array())) {
        INFO(status.message());
        CHECK(status.message().find(id.dump()) != std::string::npos);
      }
      continue;
    }
    ++n_matched;
    REQUIRE(match.ok());
    INFO(match->verdict.message());
    CHECK(match->verdict.ok());
    const Json& expected = one.at("expected");
    CHECK(Json(match->deleted) == expected.at("deleted"));
    CHECK(match->ascending == expected.at("ascending").get<bool>());
    // A cosine of width h is three sums of h products; two of them are subtracted for a margin, and
    // an exchange margin is a difference of sums of n such costs, in both programs.
    const double h = original.hidden, n = reference.n_experts;
    const double one_cost = 4 * (h + 4) * 0x1p-53;
    for (size_t r = 0; r < match->pairs.size(); ++r) {
      INFO("expert " << r);
      const ExpertPair& pair = match->pairs[r];
      const auto close = [&](const char* field, double ours, double bound) {
        INFO(field);
        CHECK(std::fabs(ours - expected.at(field)[r].get<double>()) <= bound);
      };
      CHECK(pair.original == expected.at("retained_in_reference_order")[r].get<int32_t>());
      CHECK(pair.exact == expected.at("exactly_equal_rows")[r].get<bool>());
      CHECK(pair.certain);
      close("cost", pair.cost, one_cost);
      close("margin", pair.margin, 2 * one_cost);
      close("column_margin", pair.column_margin, 2 * one_cost);
      close("exchange_margin", pair.exchange_margin, 4 * n * one_cost);
    }
  }
  CHECK(n_matched == 12);
  CHECK(n_refused == 10);
}

TEST_CASE("matching: 192 of 256 experts of true width are found under ten percent of noise") {
  const Json recipe = golden::read_json(kMatch + "match.json").at("recipe");
  Pcg64 random(recipe.at("state_hex").get<std::string>(), recipe.at("inc_hex").get<std::string>());
  Rows original{{}, 256, 3072};
  original.values = random.draw(size_t{256} * 3072);
  std::vector<std::pair<uint64_t, size_t>> lots;
  for (size_t i = 0; i < 256; ++i) lots.emplace_back(random.next(), i);
  std::sort(lots.begin(), lots.end());
  std::vector<size_t> keep;
  for (size_t i = 0; i < 192; ++i) keep.push_back(lots[i].second);
  std::sort(keep.begin(), keep.end());
  Rows reference{random.draw(size_t{192} * 3072), 192, 3072};
  for (size_t r = 0; r < keep.size(); ++r) {
    for (size_t k = 0; k < 3072; ++k) {
      float& value = reference.values[r * 3072 + k];
      const float noise = 0.1f * value;
      value = original.values[keep[r] * 3072 + k] + noise;
    }
  }
  const auto match = match_experts(original, reference, {});
  REQUIRE(match.ok());
  CHECK(match->verdict.ok());
  const Json& expected = recipe.at("expected");
  CHECK(Json(match->deleted) == expected.at("deleted"));
  CHECK(match->ascending);
  double margin = std::numeric_limits<double>::infinity(), cost = 0;
  for (const ExpertPair& pair : match->pairs) {
    margin = std::min(margin, pair.margin);
    cost = std::max(cost, pair.cost);
    CHECK(pair.mutual);
  }
  const double bound = 4 * 3076 * 0x1p-53;
  CHECK(std::fabs(margin - expected.at("smallest_margin").get<double>()) <= 2 * bound);
  CHECK(std::fabs(cost - expected.at("largest_cost").get<double>()) <= bound);
  CHECK(std::fabs(match->total_cost - expected.at("total_cost").get<double>()) <= 192 * bound);
}

TEST_CASE("matching: a refusal names the experts that cannot be told apart") {
  Rows original{{1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1e-9f}, 4, 3};
  Rows reference{{1, 0, 0, 0, 1, 1e-4f}, 2, 3};
  const auto match = match_experts(original, reference, {});
  REQUIRE(match.ok());
  CHECK(match->verdict.code() == Code::check_failed);
  CHECK(match->verdict.message().find("expert 1 of the reference") != std::string::npos);
  CHECK(match->verdict.message().find("expert 1") != std::string::npos);
  CHECK(match->verdict.message().find("expert 3") != std::string::npos);
  CHECK(match->pairs[0].certain);
  CHECK_FALSE(match->pairs[1].certain);
  CHECK(match->smallest_margin < 1e-6);

  original.values = {1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1, -0.0f};
  const auto equal = match_experts(original, reference = {{0, 1, 0}, 1, 3}, {});
  CHECK(equal.status().code() == Code::check_failed);
  CHECK(equal.status().message().find("experts 1, 2 and 3") != std::string::npos);
}

TEST_CASE("matching: the margin that is wanted is the caller's") {
  const Rows original{{1, 0, 0, 0, 1, 0, 0, 0, 1}, 3, 3};
  const Rows reference{{1, 0.9f, 0}, 1, 3};
  CHECK(match_experts(original, reference, {})->verdict.ok());
  CHECK_FALSE(match_experts(original, reference, {.min_margin = 0.5})->verdict.ok());
  CHECK_FALSE(match_experts(original, reference, {.max_cost = 0.1})->verdict.ok());
}

TEST_CASE("matching: a model of one expert matches itself") {
  const Rows one{{0.5f, -1}, 1, 2};
  const auto match = match_experts(one, one, {});
  REQUIRE(match.ok());
  CHECK(match->verdict.ok());
  CHECK(match->deleted.empty());
  const Rows other{{0.5f, -1.1f}, 1, 2};
  CHECK(match_experts(one, other, {})->verdict.ok());
}
