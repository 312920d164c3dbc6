#include "tools/experts/placement.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "support/golden.h"

using namespace mm2;

namespace {

PlacementShape shape_of(const Json& one) {
  return {one.at("slots").get<int32_t>(), one.at("gpus").get<int32_t>(), one.value("groups", 1),
          one.value("nodes", 1)};
}

}  // namespace

TEST_CASE("placement: every golden case is placed slot for slot, with its loads") {
  const Json file = golden::read_json(std::string(MM2_TEST_DATA) + "/tools/eplb/eplb.json");
  for (const Json& one : file.at("cases")) {
    INFO(one.at("case").get<std::string>());
    const auto load = one.at("weights").get<std::vector<double>>();
    const auto placed = place_experts(load, shape_of(one));
    INFO(placed.status().message());
    REQUIRE(placed.ok());
    CHECK(Json(placed->experts) == one.at("experts_on_each_gpu_in_slot_order"));
    CHECK(Json(placed->n_copies) == one.at("replicas"));
    CHECK(placed->load == one.at("gpu_load").get<std::vector<double>>());
  }
  CHECK(file.at("cases").size() == 9);
}

TEST_CASE("placement: what cannot be placed equally is refused with the numbers") {
  const Json file = golden::read_json(std::string(MM2_TEST_DATA) + "/tools/eplb/eplb.json");
  for (const Json& one : file.at("must_be_refused")) {
    INFO(one.at("why").get<std::string>());
    const std::vector<double> load(one.at("experts").get<size_t>(), 1.0);
    CHECK(place_experts(load, shape_of(one)).status().code() == Code::invalid_argument);
  }
  const std::vector<double> pruned(154, 1.0);
  const auto refused = place_experts(pruned, {154, 8});
  CHECK(refused.status().message().find("at least 160 slots") != std::string::npos);
  CHECK(place_experts({}, {8, 8}).status().code() == Code::invalid_argument);
  for (const double bad : {-1.0, std::nan(""), HUGE_VAL}) {
    const std::vector<double> load = {1, bad};
    CHECK(place_experts(load, {2, 1}).status().code() == Code::numeric);
  }
}
