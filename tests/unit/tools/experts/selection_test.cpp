#include "tools/experts/selection.h"

#include <catch2/catch.hpp>
#include <cmath>

using namespace mm2;

TEST_CASE("selection: equal saliencies go by expert id") {
  const std::vector<double> equal(6, 1.0);
  const auto choice = choose_experts(equal, 2, 4);
  REQUIRE(choice.ok());
  CHECK(choice->removed == std::vector<int32_t>{0, 1});
  CHECK(choice->kept == std::vector<int32_t>{2, 3, 4, 5});
  CHECK(choice->gap == 0);
}

TEST_CASE("selection: protected experts stay, whatever their saliency") {
  const std::vector<double> saliency = {5, 0, 1, 4, 2, 3};
  const int32_t super[] = {1};
  const auto choice = choose_experts(saliency, 2, 2, super);
  REQUIRE(choice.ok());
  CHECK(choice->removed == std::vector<int32_t>{2, 4});
  CHECK(choice->kept == std::vector<int32_t>{0, 1, 3, 5});
  CHECK(choice->gap == Approx(1.0 / 3));
  const int32_t most[] = {0, 1, 2, 3, 4};
  CHECK(choose_experts(saliency, 2, 2, most).status().code() == Code::invalid_argument);
  const int32_t none[] = {6};
  CHECK(choose_experts(saliency, 2, 2, none).status().code() == Code::invalid_argument);
}

TEST_CASE("selection: as many experts stay as a token is sent to, and NaN is no saliency") {
  const std::vector<double> saliency(10, 1.0);
  CHECK(choose_experts(saliency, 2, 8).ok());
  CHECK(choose_experts(saliency, 3, 8).status().code() == Code::invalid_argument);
  CHECK(choose_experts(saliency, -1, 8).status().code() == Code::invalid_argument);
  CHECK(choose_experts({}, 0, 1).status().code() == Code::invalid_argument);
  std::vector<double> broken = saliency;
  broken[7] = std::nan("");
  CHECK(choose_experts(broken, 1, 8).status().code() == Code::numeric);
  CHECK(choose_experts(saliency, 0, 8)->kept.size() == 10);
  CHECK(n_removed_of_ratio(256, 0.25) == 64);
  CHECK(n_removed_of_ratio(10, 0.3) == 3);
  CHECK(n_removed_of_ratio(16, 0.3) == 4);
  CHECK(n_removed_of_ratio(16, -1) == 0);
  CHECK(n_removed_of_ratio(16, 1e30) == 16);
  CHECK(n_removed_of_ratio(16, std::nan("")) == 0);
}

TEST_CASE("selection: super experts are above a tenth of the largest and the 99.5th percentile") {
  std::vector<std::vector<double>> activations(4, std::vector<double>(100, 1.0));
  activations[1][7] = 1000;
  activations[3][9] = 900;  // of the last quarter
  activations[0][3] = 99;   // below a tenth of the largest
  using Found = std::vector<std::pair<int32_t, int32_t>>;
  CHECK(super_experts(activations, false) == Found{{1, 7}});
  CHECK(super_experts(activations, true) == Found{{1, 7}, {3, 9}});
  // Ten alike of 400 are more than half a percent: the percentile is their own value.
  for (size_t e = 0; e < 10; ++e) activations[2][e] = 1000;
  CHECK(super_experts(activations, true).empty());
  CHECK(super_experts({}, true).empty());
  activations[2].pop_back();
  CHECK(super_experts(activations, true).empty());
}
