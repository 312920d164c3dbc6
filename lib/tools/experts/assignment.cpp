#include "tools/experts/assignment.h"

#include <cmath>
#include <limits>

namespace mm2 {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Rows are the shorter side.
class Solver {
 public:
  Solver(std::span<const double> cost, int32_t n_rows, int32_t n_cols)
      : cost_(cost),
        n_rows_(static_cast<size_t>(n_rows)),
        n_cols_(static_cast<size_t>(n_cols)),
        row_price_(n_rows_, 0),
        column_price_(n_cols_, 0),
        column_of_row_(n_rows_, -1),
        row_of_column_(n_cols_, -1),
        reached_(n_cols_),
        came_from_(n_cols_) {}

  /// False when there is no assignment.
  bool run() {
    for (size_t row = 0; row < n_rows_; ++row) {
      if (!augment(row)) return false;
    }
    return true;
  }

  std::vector<double> row_price() && { return std::move(row_price_); }
  std::vector<double> column_price() && { return std::move(column_price_); }
  std::vector<int32_t> column_of_row() && { return std::move(column_of_row_); }

 private:
  // The nearest column not settled yet, free ones first among equals; n_cols_ when none is reached.
  size_t nearest(const std::vector<char>& settled) const {
    size_t best = n_cols_;
    for (size_t column = 0; column < n_cols_; ++column) {
      if (settled[column] || reached_[column] == kInfinity) continue;
      if (best == n_cols_ || reached_[column] < reached_[best] ||
          (reached_[column] == reached_[best] && row_of_column_[column] < 0 &&
           row_of_column_[best] >= 0)) {
        best = column;
      }
    }
    return best;
  }

  // Finds the cheapest alternating path from `start` to a free column and flips it.
  bool augment(size_t start) {
    std::fill(reached_.begin(), reached_.end(), kInfinity);
    std::vector<char> settled(n_cols_, 0);
    std::vector<size_t> rows = {start}, columns;
    double length = 0;
    size_t row = start, sink = n_cols_;
    while (sink == n_cols_) {
      for (size_t column = 0; column < n_cols_; ++column) {
        if (settled[column]) continue;
        const double way =
            length + cost_[row * n_cols_ + column] - row_price_[row] - column_price_[column];
        if (way < reached_[column]) {
          reached_[column] = way;
          came_from_[column] = row;
        }
      }
      const size_t next = nearest(settled);
      if (next == n_cols_) return false;
      length = reached_[next];
      settled[next] = 1;
      columns.push_back(next);
      if (row_of_column_[next] < 0) {
        sink = next;
      } else {
        row = static_cast<size_t>(row_of_column_[next]);
        rows.push_back(row);
      }
    }
    row_price_[start] += length;
    for (size_t i = 1; i < rows.size(); ++i) {
      row_price_[rows[i]] += length - reached_[columns[i - 1]];
    }
    for (const size_t column : columns) column_price_[column] -= length - reached_[column];
    for (size_t column = sink;;) {
      const size_t owner = came_from_[column];
      row_of_column_[column] = static_cast<int32_t>(owner);
      const int32_t before = column_of_row_[owner];
      column_of_row_[owner] = static_cast<int32_t>(column);
      if (owner == start) return true;
      column = static_cast<size_t>(before);
    }
  }

  std::span<const double> cost_;
  size_t n_rows_;
  size_t n_cols_;
  std::vector<double> row_price_;
  std::vector<double> column_price_;
  std::vector<int32_t> column_of_row_;
  std::vector<int32_t> row_of_column_;
  std::vector<double> reached_;
  std::vector<size_t> came_from_;
};

Status check(std::span<const double> cost, int32_t n_rows, int32_t n_cols) {
  if (n_rows < 0 || n_cols < 0 ||
      cost.size() != static_cast<size_t>(n_rows) * static_cast<size_t>(n_cols)) {
    return error(Code::invalid_argument, "assignment: ", cost.size(), " costs for a matrix of ",
                 n_rows, " rows and ", n_cols, " columns");
  }
  for (size_t i = 0; i < cost.size(); ++i) {
    if (cost[i] > -kInfinity) continue;  // false for NaN, too
    return error(Code::invalid_argument, "assignment: the cost of row ",
                 i / static_cast<size_t>(n_cols), ", column ", i % static_cast<size_t>(n_cols),
                 " is ", cost[i], "; wanted is a number or +infinity");
  }
  return {};
}

// Distances in reduced costs from one row to all columns, its own pair forbidden; the column that it
// gives up is where the detour ends. `sink` stands for "left over".
double detour(std::span<const double> cost, size_t n_rows, size_t n_cols, const Assignment& best,
              std::span<const int32_t> row_of_column, size_t start) {
  const auto target = static_cast<size_t>(best.column_of_row[start]);
  std::vector<double> reached(n_cols, kInfinity);
  std::vector<char> settled(n_cols, 0);
  bool sink_settled = false;
  double length = 0;
  size_t row = start;
  while (true) {
    if (row < n_rows) {
      const double* const costs = &cost[row * n_cols];
      const double base = length - best.row_price[row];
      for (size_t column = 0; column < n_cols; ++column) {
        const double way = std::max(length, base + costs[column] - best.column_price[column]);
        if (!settled[column] && way < reached[column] && !(row == start && column == target)) {
          reached[column] = way;
        }
      }
    }
    size_t next = n_cols;
    for (size_t column = 0; column < n_cols; ++column) {
      if (!settled[column] && reached[column] < (next == n_cols ? kInfinity : reached[next])) {
        next = column;
      }
    }
    if (next == n_cols) return kInfinity;
    if (reached[target] <= reached[next]) return reached[target];
    settled[next] = 1;
    length = reached[next];
    row = n_rows;
    if (row_of_column[next] >= 0) {
      row = static_cast<size_t>(row_of_column[next]);
    } else if (!sink_settled) {
      // This column gets a partner, so any other may lose its own, at the price it bore.
      sink_settled = true;
      for (size_t column = 0; column < n_cols; ++column) {
        if (!settled[column] && row_of_column[column] >= 0) {
          reached[column] = std::min(reached[column], length - best.column_price[column]);
        }
      }
    }
  }
}

}  // namespace

Result<Assignment> assign(std::span<const double> cost, int32_t n_rows, int32_t n_cols) {
  MM2_RETURN_IF_ERROR(check(cost, n_rows, n_cols));
  const bool turned = n_rows > n_cols;
  const int32_t fewer = turned ? n_cols : n_rows;
  const int32_t more = turned ? n_rows : n_cols;
  std::vector<double> transposed;
  if (turned) {
    transposed.resize(cost.size());
    for (size_t i = 0; i < cost.size(); ++i) {
      const size_t row = i / static_cast<size_t>(n_cols), column = i % static_cast<size_t>(n_cols);
      transposed[column * static_cast<size_t>(n_rows) + row] = cost[i];
    }
  }
  Solver solver(turned ? std::span<const double>(transposed) : cost, fewer, more);
  if (!solver.run()) {
    return error(Code::check_failed, "assignment: no assignment of ", n_rows, " rows to ", n_cols,
                 " columns avoids the pairs of infinite cost");
  }
  Assignment result;
  const std::vector<int32_t> partner = std::move(solver).column_of_row();
  result.row_price = std::move(solver).row_price();
  result.column_price = std::move(solver).column_price();
  if (turned) {
    std::swap(result.row_price, result.column_price);
    result.column_of_row.assign(static_cast<size_t>(n_rows), -1);
    for (size_t i = 0; i < partner.size(); ++i) {
      result.column_of_row[static_cast<size_t>(partner[i])] = static_cast<int32_t>(i);
    }
  } else {
    result.column_of_row = partner;
  }
  for (size_t row = 0; row < result.column_of_row.size(); ++row) {
    const int32_t column = result.column_of_row[row];
    if (column >= 0)
      result.total += cost[row * static_cast<size_t>(n_cols) + static_cast<size_t>(column)];
  }
  return result;
}

std::vector<double> exchange_margins(std::span<const double> cost, int32_t n_rows, int32_t n_cols,
                                     const Assignment& best) {
  std::vector<int32_t> row_of_column(static_cast<size_t>(n_cols), -1);
  for (size_t row = 0; row < best.column_of_row.size(); ++row) {
    row_of_column[static_cast<size_t>(best.column_of_row[row])] = static_cast<int32_t>(row);
  }
  std::vector<double> margins(static_cast<size_t>(n_rows));
  for (size_t row = 0; row < margins.size(); ++row) {
    margins[row] = detour(cost, margins.size(), row_of_column.size(), best, row_of_column, row);
  }
  return margins;
}

}  // namespace mm2
