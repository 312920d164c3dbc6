// Percentiles and schedules against tests/data/tools/slurpy, made with numpy.
#include <cmath>
#include <limits>

#include "tools/merge/schedule.h"
#include "unit/tools/merge/merge_data.h"

using namespace mm2;
using merge_data::File;

namespace {

std::vector<ScheduleRow> rows_of(const std::vector<double>& deltas) {
  std::vector<ScheduleRow> rows;
  for (size_t i = 0; i < deltas.size(); ++i)
    rows.push_back({"t" + std::to_string(i), i % 2 == 0 ? "even" : "odd", deltas[i], 0});
  return rows;
}

}  // namespace

TEST_CASE("percentile: numpy's linear definition, n = 48,239 and small n") {
  const File file(merge_data::kTools + "slurpy/deltas.safetensors");
  const Json facts = golden::read_json(merge_data::kTools + "slurpy/slurpy.json");
  bool whole_model = false;
  for (const Json& population : facts.at("populations")) {
    const auto deltas = file.raw<double>(population.at("delta").get<std::string>());
    INFO("n = " << deltas.size());
    whole_model |= deltas.size() == 48239;
    for (const auto& [q, wanted] : population.at("percentiles").items()) {
      INFO("percentile " << q);
      const auto got = percentile(deltas, std::stod(q));
      REQUIRE(got.ok());
      CHECK(std::abs(*got - wanted.get<double>()) <= 1e-15);
    }
  }
  CHECK(whole_model);
}

TEST_CASE("schedule: t of the SLURPY formula, its mean and histogram") {
  const File file(merge_data::kTools + "slurpy/deltas.safetensors");
  const Json facts = golden::read_json(merge_data::kTools + "slurpy/slurpy.json");
  for (const Json& population : facts.at("populations")) {
    const auto deltas = file.raw<double>(population.at("delta").get<std::string>());
    INFO("n = " << deltas.size());
    const auto schedule = make_schedule(rows_of(deltas), {});
    if (population.at("percentiles").at("99").get<double>() == 0) {
      CHECK(schedule.status().code() == Code::invalid_argument);
      continue;
    }
    REQUIRE(schedule.ok());
    double sum = 0, above = 0, at_end = 0;
    for (const double t : schedule->t) {
      sum += t;
      above += t > 0.80 ? 1 : 0;
      at_end += t == 0.85 ? 1 : 0;
    }
    const double n = static_cast<double>(deltas.size());
    for (const Json& row : population.at("table"))
      CHECK(std::abs(schedule->t[row.at(0).get<size_t>()] - row.at(2).get<double>()) <= 1e-12);
    CHECK(std::abs(sum / n - population.at("mean_t").get<double>()) <= 1e-12);
    CHECK(above / n == population.at("share_t_above_0.80").get<double>());
    CHECK(at_end / n == population.at("share_t_at_upper_end").get<double>());
    CHECK(make_histogram(schedule->t, 0.5, 0.85, 7).counts ==
          population.at("histogram_0.50_to_0.85_in_7_bins").get<std::vector<uint64_t>>());
  }
}

TEST_CASE("schedule: a divisor of 0 is an error that says why, and NaN names its tensor") {
  const auto refused = [](const std::vector<double>& deltas, const ScheduleOptions& options) {
    return make_schedule(rows_of(deltas), options).status();
  };
  const Status equal = refused(std::vector<double>(8, 0.0), {});
  CHECK(equal.code() == Code::invalid_argument);
  CHECK(equal.message().find("equal in both parents") != std::string::npos);
  std::vector<double> one(1000, 0.0);
  one.back() = 0.01;
  CHECK(refused(one, {}).code() == Code::invalid_argument);
  const auto by_max = make_schedule(rows_of(one), {Normalizer::maximum});
  REQUIRE(by_max.ok());
  CHECK(by_max->t.back() == 0.85);
  CHECK(by_max->t.front() == 0.5);
  const Status nan = refused({0.001, std::nan(""), 0.002}, {});
  CHECK(nan.code() == Code::numeric);
  CHECK(nan.message().find("t1") != std::string::npos);
  CHECK_FALSE(refused({}, {}).ok());
  CHECK_FALSE(refused({0.1, -0.1}, {}).ok());
  CHECK_FALSE(refused({0.1}, {Normalizer::percentile, 99, 0.9, 0.2}).ok());
}

TEST_CASE("schedule: the other normalisers do what their names say") {
  std::vector<double> deltas;
  for (int i = 0; i < 100; ++i) deltas.push_back(0.005 + 1e-5 * (i % 11));
  deltas.push_back(0.03);
  const std::vector<ScheduleRow> rows = rows_of(deltas);
  const auto mad = make_schedule(rows, {Normalizer::mad});
  REQUIRE(mad.ok());
  CHECK(mad->t.back() == 0.85);
  for (size_t i = 0; i < 100; ++i) CHECK(mad->t[i] < 0.62);  // up to 2 of 6 sigma
  const auto classes = make_schedule(rows, {Normalizer::per_class});
  REQUIRE(classes.ok());
  REQUIRE(classes->divisors.size() == 2);
  CHECK(classes->divisors[0].group == "even");
  CHECK(classes->divisors[0].n == 51);
  // An odd one is divided by the odd ones' p99, which 0.03 is not among.
  CHECK(classes->divisors[1].value < 0.0052);
  std::vector<ScheduleRow> noisy = rows;
  for (ScheduleRow& row : noisy) row.noise = 0.0265;
  noisy[0].delta = 0.0007;  // the floor itself: nothing has changed
  const auto floor = make_schedule(noisy, {Normalizer::noise_floor});
  REQUIRE(floor.ok());
  CHECK(floor->t[0] == 0.5);
  CHECK(floor->t.back() == 0.85);
}

TEST_CASE("histogram: the SVG holds a bar for each bin and nothing that breaks out of text") {
  const std::string svg = histogram_svg({0.5, 0.85, {1, 0, 10}}, "a < b & \x01", "t");
  size_t bars = 0;
  for (size_t at = 0; (at = svg.find("#4878a8", at)) != std::string::npos; ++at) ++bars;
  CHECK(bars == 3);
  CHECK(svg.find("a &lt; b &amp; ") != std::string::npos);
  CHECK(svg.find('\x01') == std::string::npos);
  CHECK(svg.rfind("</svg>\n") == svg.size() - 7);
  CHECK_FALSE(histogram_svg({}, "", "").empty());
}
