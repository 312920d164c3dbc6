// Which elements of a tensor lie between two ranks of magnitude, found in scans over its rows.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace mm2 {

/// Elements in ascending order of magnitude; of equal ones the later comes first, so that a cut
/// among equals keeps the first of them. Kept are the ranks [low, high) of n_rows * n_cols.
///
/// A radix selection over the bits of the magnitudes: one scan for the upper half, one for the
/// lower (none where `coarse` says that the values are BF16), one that counts equal values per row
/// where a cut goes through them.
class MagnitudeCut {
 public:
  MagnitudeCut(int64_t n_rows, int64_t n_cols, uint64_t low, uint64_t high, bool coarse);

  bool wants_scan() const { return phase_ != Phase::done; }
  void scan_row(const float* values, int64_t row);
  void end_scan();

  /// keep[i] = 1 or 0. Once no scan is wanted.
  void keep_row(const float* values, int64_t row, uint8_t* keep) const;
  /// The magnitudes at the two ranks; 0 where all elements are on one side.
  float low_magnitude() const { return magnitude(edges_[0]); }
  float high_magnitude() const { return magnitude(edges_[1]); }

 private:
  enum class Phase : uint8_t { upper, lower, equal, done };
  // Elements from a rank on: those above `bits`, and the first n_equal of those equal to it.
  struct Edge {
    bool open = true;         // the rank lies inside: 0 < rank < n
    bool everything = false;  // if not open: all elements, or none
    uint64_t from_top = 0;    // elements wanted
    uint64_t upper = 0;       // bucket of the upper half, then
    uint64_t above = 0;       // elements of greater buckets
    uint32_t bits = 0;
    uint64_t n_equal = 0;
    bool splits = false;           // equal values are both kept and dropped
    std::vector<uint64_t> counts;  // lower halves; then equal values before each row
  };

  static float magnitude(const Edge& edge) {
    return edge.open ? std::bit_cast<float>(edge.bits) : 0.0f;
  }
  void settle(Edge& edge, uint64_t lower, uint64_t above, uint64_t equal);
  void take_upper(Edge& edge);
  void take_lower(Edge& edge);
  void begin_equal();
  void mark(const Edge& edge, const float* values, int64_t row, uint8_t* to) const;

  int64_t n_rows_, n_cols_;
  bool coarse_;
  Phase phase_ = Phase::upper;
  std::vector<uint64_t> upper_;
  Edge edges_[2];
};

}  // namespace mm2
