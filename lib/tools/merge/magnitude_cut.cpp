#include "tools/merge/magnitude_cut.h"

namespace mm2 {
namespace {

constexpr uint32_t kMagnitude = 0x7fffffffu;
constexpr size_t kUpper = 32768, kLower = 65536;

uint32_t magnitude_bits(float value) {
  return std::bit_cast<uint32_t>(value) & kMagnitude;
}

// Assigning {} would keep the memory, and there are as many of these as the model has weights.
void give_back(std::vector<uint64_t>& counts) {
  std::vector<uint64_t>().swap(counts);
}

}  // namespace

MagnitudeCut::MagnitudeCut(int64_t n_rows, int64_t n_cols, uint64_t low, uint64_t high, bool coarse)
    : n_rows_(n_rows), n_cols_(n_cols), coarse_(coarse) {
  const uint64_t n = static_cast<uint64_t>(n_rows) * static_cast<uint64_t>(n_cols);
  const uint64_t ranks[2] = {low, high};
  for (int i = 0; i < 2; ++i) {
    edges_[i].open = ranks[i] > 0 && ranks[i] < n;
    edges_[i].everything = ranks[i] == 0;
    edges_[i].from_top = ranks[i] < n ? n - ranks[i] : 0;
  }
  if (edges_[0].open || edges_[1].open) {
    upper_.resize(kUpper);
  } else {
    phase_ = Phase::done;
  }
}

void MagnitudeCut::scan_row(const float* values, int64_t row) {
  if (phase_ == Phase::upper) {
    for (int64_t i = 0; i < n_cols_; ++i) ++upper_[magnitude_bits(values[i]) >> 16];
    return;
  }
  for (Edge& edge : edges_) {
    if (!edge.open) continue;
    if (phase_ == Phase::lower) {
      for (int64_t i = 0; i < n_cols_; ++i) {
        const uint32_t bits = magnitude_bits(values[i]);
        if (bits >> 16 == edge.upper) ++edge.counts[bits & 0xffffu];
      }
    } else if (edge.splits) {
      uint64_t equal = 0;
      for (int64_t i = 0; i < n_cols_; ++i) equal += magnitude_bits(values[i]) == edge.bits ? 1 : 0;
      const size_t r = static_cast<size_t>(row);
      edge.counts[r + 1] = edge.counts[r] + equal;
    }
  }
}

void MagnitudeCut::settle(Edge& edge, uint64_t lower, uint64_t above, uint64_t equal) {
  edge.bits = static_cast<uint32_t>(edge.upper << 16 | lower);
  edge.n_equal = edge.from_top - above;
  edge.splits = edge.n_equal < equal;
}

void MagnitudeCut::take_upper(Edge& edge) {
  uint64_t above = 0;
  uint64_t bucket = kUpper - 1;
  while (above + upper_[bucket] < edge.from_top) above += upper_[bucket--];
  edge.upper = bucket;
  edge.above = above;
  if (coarse_) {
    settle(edge, 0, above, upper_[bucket]);
  } else {
    edge.counts.assign(kLower, 0);
  }
}

void MagnitudeCut::take_lower(Edge& edge) {
  uint64_t above = edge.above;
  uint64_t bucket = kLower - 1;
  while (above + edge.counts[bucket] < edge.from_top) above += edge.counts[bucket--];
  settle(edge, bucket, above, edge.counts[bucket]);
  give_back(edge.counts);
}

void MagnitudeCut::begin_equal() {
  phase_ = Phase::done;
  for (Edge& edge : edges_) {
    if (!edge.open || !edge.splits) continue;
    edge.counts.assign(static_cast<size_t>(n_rows_) + 1, 0);
    phase_ = Phase::equal;
  }
}

void MagnitudeCut::end_scan() {
  if (phase_ == Phase::upper) {
    for (Edge& edge : edges_) {
      if (edge.open) take_upper(edge);
    }
    give_back(upper_);
    phase_ = Phase::lower;
    if (coarse_) begin_equal();
  } else if (phase_ == Phase::lower) {
    for (Edge& edge : edges_) {
      if (edge.open) take_lower(edge);
    }
    begin_equal();
  } else {
    phase_ = Phase::done;
  }
}

// to[i] ^= 1 for elements of the edge.
void MagnitudeCut::mark(const Edge& edge, const float* values, int64_t row, uint8_t* to) const {
  if (!edge.open) {
    if (!edge.everything) return;
    for (int64_t i = 0; i < n_cols_; ++i) to[i] ^= 1;
    return;
  }
  if (!edge.splits) {
    for (int64_t i = 0; i < n_cols_; ++i) to[i] ^= magnitude_bits(values[i]) >= edge.bits ? 1 : 0;
    return;
  }
  uint64_t equal = edge.counts[static_cast<size_t>(row)];
  for (int64_t i = 0; i < n_cols_; ++i) {
    const uint32_t bits = magnitude_bits(values[i]);
    to[i] ^= bits > edge.bits || (bits == edge.bits && equal++ < edge.n_equal) ? 1 : 0;
  }
}

void MagnitudeCut::keep_row(const float* values, int64_t row, uint8_t* keep) const {
  for (int64_t i = 0; i < n_cols_; ++i) keep[i] = 0;
  // The upper edge's elements are among the lower's.
  for (const Edge& edge : edges_) mark(edge, values, row, keep);
}

}  // namespace mm2
