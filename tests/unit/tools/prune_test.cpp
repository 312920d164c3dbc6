// prune: what its report says of the experts that go.
#include <cmath>

#include "format/atomic_writer.h"
#include "tools/calibrate/stats.h"
#include "tools/experts/mask.h"
#include "unit/tools/run_verb.h"

using namespace mm2;
using verbs::run;
using verbs::says;

namespace {

const std::string kModel = std::string(MM2_TEST_DATA) + "/models/bf16";  // 8 experts, 3 of a token

std::string statistics(const TempFolder& folder) {
  std::string ids;
  for (int i = 0; i < 200; ++i) ids += join(i == 0 ? "" : ", ", i * 37 % 256);
  REQUIRE(write_text_file(folder / "tokens.jsonl", "{\"ids\": [" + ids + "]}\n").ok());
  const auto ran = run("calibrate", {{"model", kModel},
                                     {"tokens", folder / "tokens.jsonl"},
                                     {"out", folder / "stats.safetensors"}});
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  return folder / "stats.safetensors";
}

}  // namespace

TEST_CASE("prune: the report has the mass that goes and the error of each layer") {
  const TempFolder folder;
  const std::string path = statistics(folder);
  const auto ran = run("prune", {{"model", kModel},
                                 {"stats", path},
                                 {"keep", 6},
                                 {"protect_super", false},
                                 {"mask_out", folder / "mask.json"}});
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  CHECK(ran.report.at("kept") == 6);
  const auto stats = CalibrationStats::open(path, {});
  REQUIRE(stats.ok());
  const auto text = read_file(folder / "mask.json");
  const Json mask = Json::parse(text);
  for (int32_t layer = 0; layer < 2; ++layer) {
    const Json& row = ran.report.at("layers").at(static_cast<size_t>(layer));
    const auto removed = mask.at(join(layer)).get<std::vector<size_t>>();
    REQUIRE(removed.size() == 2);
    const auto share = [&](const char* what) {
      const auto sums = (*stats)->numbers(layer, what);
      REQUIRE(sums.ok());
      double all = 0, gone = 0;
      for (const double x : *sums) all += x;
      for (const size_t e : removed) gone += sums->at(e);
      return gone / all;
    };
    CHECK(row.at("removed_saliency").get<double>() == Approx(share("weighted_norm_sum")));
    CHECK(row.at("removed_weight").get<double>() == Approx(share("weight_sum")));
    CHECK(row.at("removed_tokens").get<double>() == Approx(share("expert_tokens")));
    const double error = row.at("layer_error").get<double>();
    CHECK(error == Approx(std::sqrt(share("weighted_square_sum"))));
    CHECK((error > 0 && error < 1));
  }
}

TEST_CASE("prune: statistics of another model, and experts that must not all go, are refused") {
  const TempFolder folder;
  const std::string path = statistics(folder);
  const auto other = run("prune", {{"model", std::string(MM2_TEST_DATA) + "/models/bf16_single"},
                                   {"stats", path},
                                   {"ratio", 0.25},
                                   {"mask_out", folder / "mask.json"}});
  CHECK(other.status.code() == Code::invalid_argument);
  CHECK(says(other.status, "2 layers and 8 experts"));
  const auto all =
      run("prune",
          {{"model", kModel}, {"stats", path}, {"keep", 2}, {"mask_out", folder / "mask.json"}});
  CHECK(all.status.code() == Code::invalid_argument);  // 3 of them answer each token
}
