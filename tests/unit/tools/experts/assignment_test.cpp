#include "tools/experts/assignment.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "support/golden.h"

using namespace mm2;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Problem {
  int32_t n_rows = 0, n_cols = 0;
  std::vector<double> cost;
  double at(size_t r, size_t c) const { return cost[r * static_cast<size_t>(n_cols) + c]; }
};

// The least total over all assignments of the shorter side that do not use (not_row, not_col).
double brute_force(const Problem& p, int32_t not_row = -1, int32_t not_col = -1) {
  const bool turned = p.n_rows > p.n_cols;
  const auto n = static_cast<size_t>(std::min(p.n_rows, p.n_cols));
  std::vector<int32_t> order(static_cast<size_t>(std::max(p.n_rows, p.n_cols)));
  std::iota(order.begin(), order.end(), 0);
  double least = kInfinity;
  do {
    double total = 0;
    for (size_t i = 0; i < n; ++i) {
      const size_t r = turned ? static_cast<size_t>(order[i]) : i;
      const size_t c = turned ? i : static_cast<size_t>(order[i]);
      total += static_cast<int32_t>(r) == not_row && static_cast<int32_t>(c) == not_col
                   ? kInfinity
                   : p.at(r, c);
    }
    least = std::min(least, total);
  } while (std::next_permutation(order.begin(), order.end()));
  return least;
}

// Every partner is used once, the total is that of the pairs, and the prices prove that none is less.
void check_proof(const Problem& p, const Assignment& a, double tolerance) {
  REQUIRE(a.column_of_row.size() == static_cast<size_t>(p.n_rows));
  std::vector<int> used(static_cast<size_t>(p.n_cols), 0);
  double total = 0;
  int32_t n_pairs = 0;
  for (size_t r = 0; r < a.column_of_row.size(); ++r) {
    const int32_t c = a.column_of_row[r];
    if (c < 0) continue;
    ++n_pairs;
    CHECK(used[static_cast<size_t>(c)]++ == 0);
    total += p.at(r, static_cast<size_t>(c));
    CHECK(std::fabs(p.at(r, static_cast<size_t>(c)) - a.row_price[r] -
                    a.column_price[static_cast<size_t>(c)]) <= tolerance);
  }
  CHECK(n_pairs == std::min(p.n_rows, p.n_cols));
  CHECK(a.total == total);
  for (size_t r = 0; r < a.column_of_row.size(); ++r) {
    for (size_t c = 0; c < used.size(); ++c) {
      CHECK(p.at(r, c) - a.row_price[r] - a.column_price[c] >= -tolerance);
    }
  }
}

double number(const Json& value) {
  if (value.is_number()) return value.get<double>();
  const auto text = value.get<std::string>();
  return text == "inf" ? kInfinity : text == "-inf" ? -kInfinity : std::nan("");
}

}  // namespace

TEST_CASE("assignment: every problem of the golden file is solved or refused as scipy does") {
  const Json file = golden::read_json(std::string(MM2_TEST_DATA) + "/tools/match/assignment.json");
  int n_solved = 0, n_refused = 0;
  for (const Json& one : file.at("problems")) {
    INFO(one.at("name").get<std::string>());
    Problem p{one.at("rows").get<int32_t>(), one.at("cols").get<int32_t>(), {}};
    for (const Json& row : one.at("cost")) {
      for (const Json& value : row) p.cost.push_back(number(value));
    }
    const auto solved = assign(p.cost, p.n_rows, p.n_cols);
    if (one.value("refused", false)) {
      ++n_refused;
      CHECK_FALSE(solved.ok());
      CHECK_FALSE(solved.status().message().empty());
      continue;
    }
    ++n_solved;
    REQUIRE(solved.ok());
    double largest = 1;
    for (const double c : p.cost) {
      if (std::isfinite(c)) largest = std::max(largest, std::fabs(c));
    }
    // A price is a sum of at most 2n costs, each addition rounding once.
    const double tolerance = 2 * static_cast<double>(p.n_rows + p.n_cols) * largest * 0x1p-52;
    check_proof(p, *solved, tolerance);
    CHECK(std::fabs(solved->total - one.at("total").get<double>()) <= tolerance);
    if (one.value("number_of_optimal_assignments", 0) == 1) {
      for (size_t i = 0; i < one.at("row").size(); ++i) {
        CHECK(solved->column_of_row[one.at("row")[i].get<size_t>()] ==
              one.at("col")[i].get<int32_t>());
      }
    }
  }
  CHECK(n_solved == 17);
  CHECK(n_refused == 4);
}

TEST_CASE("assignment: a constant matrix gives the identity, rectangular both ways") {
  for (const auto& [rows, cols] : {std::pair{1, 1}, {5, 5}, {3, 7}, {7, 3}, {64, 64}}) {
    const std::vector<double> cost(static_cast<size_t>(rows * cols), 2.5);
    const auto solved = assign(cost, rows, cols);
    REQUIRE(solved.ok());
    for (int32_t r = 0; r < rows; ++r) {
      CHECK(solved->column_of_row[static_cast<size_t>(r)] == (r < cols ? r : -1));
    }
  }
}

TEST_CASE("assignment: brute force agrees for every size up to 8, with ties and forbidden pairs") {
  std::mt19937 random(5);
  const auto below = [&](uint32_t n) { return static_cast<int32_t>(random() % n); };
  for (int round = 0; round < 600; ++round) {
    const bool large = round % 40 == 0;
    Problem p{1 + below(large ? 8 : 6), 1 + below(large ? 8 : 6), {}};
    const int kind = below(3);
    for (int32_t i = 0; i < p.n_rows * p.n_cols; ++i) {
      // Whole numbers, so that totals are exact and ties are true ties.
      const double cost = kind == 0 ? below(3) : below(2000) - 1000;
      p.cost.push_back(kind == 2 && below(3) == 0 ? kInfinity : cost);
    }
    INFO("round " << round << ": " << p.n_rows << " x " << p.n_cols);
    const double least = brute_force(p);
    const auto solved = assign(p.cost, p.n_rows, p.n_cols);
    if (least == kInfinity) {
      CHECK(solved.status().code() == Code::check_failed);
      continue;
    }
    REQUIRE(solved.ok());
    CHECK(solved->total == least);
    check_proof(p, *solved, 0);
    if (p.n_rows > p.n_cols || large) continue;
    const std::vector<double> margins = exchange_margins(p.cost, p.n_rows, p.n_cols, *solved);
    for (int32_t r = 0; r < p.n_rows; ++r) {
      INFO("row " << r);
      CHECK(margins[static_cast<size_t>(r)] ==
            brute_force(p, r, solved->column_of_row[static_cast<size_t>(r)]) - least);
    }
  }
}

TEST_CASE("assignment: NaN, minus infinity and sizes that do not fit are refused by place") {
  std::vector<double> cost(6, 1);
  cost[4] = std::nan("");
  auto refused = assign(cost, 2, 3);
  CHECK(refused.status().code() == Code::invalid_argument);
  CHECK(refused.status().message().find("row 1, column 1") != std::string::npos);
  cost[4] = -kInfinity;
  CHECK(assign(cost, 3, 2).status().message().find("row 2, column 0") != std::string::npos);
  CHECK(assign(cost, 2, 2).status().code() == Code::invalid_argument);
  CHECK(assign(cost, -2, -3).status().code() == Code::invalid_argument);
  CHECK(assign({}, 0, 0).ok());
  CHECK(assign({}, 0, 9).ok());
}
