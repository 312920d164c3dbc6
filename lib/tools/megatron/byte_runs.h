// A rectangle moved between two row-major matrices, as runs of bytes.
#pragma once

#include <cstdint>

namespace mm2 {

struct Rectangle {
  int64_t n_rows = 0, n_cols = 0;
  int64_t from_row = 0, from_col = 0, from_width = 0;
  int64_t to_row = 0, to_col = 0, to_width = 0;
};

/// Calls run(from byte, to byte, n bytes) for every stretch that is whole in both: one for all rows
/// where both matrices are as wide as the rectangle, else one for each row.
template <typename Run>
void for_each_run(const Rectangle& r, int64_t element_bytes, Run&& run) {
  const bool dense = r.n_cols == r.from_width && r.n_cols == r.to_width;
  const int64_t n_runs = dense ? (r.n_rows > 0 ? 1 : 0) : r.n_rows;
  const int64_t n = (dense ? r.n_rows * r.n_cols : r.n_cols) * element_bytes;
  for (int64_t i = 0; i < n_runs; ++i) {
    const int64_t from = ((r.from_row + i) * r.from_width + r.from_col) * element_bytes;
    const int64_t to = ((r.to_row + i) * r.to_width + r.to_col) * element_bytes;
    run(static_cast<uint64_t>(from), static_cast<uint64_t>(to), static_cast<uint64_t>(n));
  }
}

}  // namespace mm2
