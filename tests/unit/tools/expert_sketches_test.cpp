// match-experts with weights: pairs that routers make, confirmed or denied by the experts themselves.
#include "support/edited.h"
#include "support/golden.h"
#include "unit/tools/run_verb.h"

using namespace mm2;
using verbs::run;
using verbs::says;

namespace {

const std::string kSingle = golden::kModels + "bf16_single";
const std::string kPruned = golden::kModels + "pruned";

std::string w2(int layer, int expert) {
  return join("model.layers.", layer, ".block_sparse_moe.experts.", expert, ".w2.weight");
}

verbs::Ran matched(const std::string& original, const std::string& reference) {
  return run("match-experts", {{"model", original}, {"reference", reference}, {"weights", true}});
}

}  // namespace

TEST_CASE("match-experts: copied experts are alike to the last digit, and others are not") {
  const TempFolder folder;
  const auto ran = run("match-experts", {{"model", kSingle},
                                         {"reference", kPruned},
                                         {"weights", true},
                                         {"details", folder / "details.json"}});
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  CHECK(ran.report.at("least_likeness").get<double>() > 1 - 1e-12);
  const Json details = golden::read_json(folder / "details.json");
  for (const Json& layer : details.at("layers")) {
    for (const Json& pair : layer.at("retained")) {
      CHECK(pair.at("likeness").get<double>() > 1 - 1e-12);
      CHECK(pair.at("likeness_of_another").get<double>() < 0.2);
    }
  }
}

TEST_CASE("match-experts: experts in four bits are still like themselves") {
  const TempFolder folder;
  const std::string rounded = folder / "rounded";
  REQUIRE(
      run("quantize", {{"model", kSingle}, {"out", rounded}, {"format", "ct_nvfp4"}}).status.ok());
  const auto ran = matched(kSingle, rounded);
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  CHECK(ran.report.at("least_likeness").get<double>() > 0.9);
  CHECK(ran.report.at("least_likeness").get<double>() < 1);
}

TEST_CASE("match-experts: weights of another expert behind the right router row are found out") {
  support::EditedModel edited("pruned");
  std::swap(edited.at(w2(1, 4)).bytes, edited.at(w2(1, 7)).bytes);
  const auto ran = matched(kSingle, edited.save());
  CHECK(ran.status.code() == Code::check_failed);
  CHECK(says(ran.status, "layer 1"));
  CHECK(says(ran.status, "expert 4 of the reference is expert 7 of the original"));
  CHECK(says(ran.status, "like those of expert 10"));
  CHECK(ran.report.at("certain") == false);
}

TEST_CASE("match-experts: weights that are nobody's are found out") {
  support::EditedModel edited("pruned");
  auto& tensor = edited.at(w2(2, 0));
  uint32_t state = 7;
  for (size_t i = 0; i < tensor.bytes.size(); i += 2) {
    state = state * 1664525 + 1013904223;
    tensor.bytes[i + 1] ^= (state >> 24 & 1) != 0 ? '\x80' : '\0';  // signs at random
  }
  const auto ran = matched(kSingle, edited.save());
  CHECK(ran.status.code() == Code::check_failed);
  CHECK(says(ran.status, "nothing in common"));

  support::EditedModel zeros("pruned");
  zeros.at(w2(2, 0)).bytes.assign(zeros.at(w2(2, 0)).bytes.size(), '\0');
  CHECK(matched(kSingle, zeros.save()).status.code() == Code::check_failed);
}
