// The rectangular assignment problem by shortest augmenting paths.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace mm2 {

struct Assignment {
  std::vector<int32_t>
      column_of_row;  // [n_rows]; -1 for rows left over when there are more of them
  double total = 0;   // sum of the chosen costs, in the order of the rows
  // Prices that prove it: cost(r, c) >= row_price[r] + column_price[c], equal where r is assigned to
  // c; of the longer side no price is above 0, and those left over have 0.
  std::vector<double> row_price;     // [n_rows]
  std::vector<double> column_price;  // [n_cols]
};

/// Gives each of the shorter side a partner of its own, at the least total cost [n_rows, n_cols].
/// Infinity forbids a pair. Ties go to the smallest free column, so a constant matrix gives the
/// identity. Code::invalid_argument: sizes that do not fit, NaN or -infinity (row and column are
/// named); Code::check_failed: no assignment avoids the forbidden pairs.
Result<Assignment> assign(std::span<const double> cost, int32_t n_rows, int32_t n_cols);

/// How much more the best assignment costs that does not pair row r with its column: the figure that
/// tells how certain a pair is. Infinity where there is no other assignment. `best` is assign(cost),
/// n_rows <= n_cols.
std::vector<double> exchange_margins(std::span<const double> cost,  // [n_rows, n_cols]
                                     int32_t n_rows, int32_t n_cols, const Assignment& best);

}  // namespace mm2
