#include "tools/quantize/error.h"

#include <algorithm>
#include <cmath>

#include "base/vector_code.h"
#include "tools/quantize/lanes.h"

namespace mm2 {
namespace {

constexpr int kFirstBin = (127 - 24) << 6;  // 2^-24 by exponent and six bits of the fraction

struct Sums {
  double square = 0, error_square = 0, error_dot = 0;
  float largest = 0;
};

double folded(const FourDoubles& lanes) {
  return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

// Sums of one row in four lanes, always in the same order.
inline __attribute__((always_inline)) void row_loop(const float* a, const float* b, int64_t n,
                                                    Sums& to) {
  FourDoubles square = {}, error_square = {}, error_dot = {};
  FourFloats largest = {};
  const auto add = [&](const FourFloats& x, const FourFloats& y) __attribute__((always_inline)) {
    const FourDoubles was = __builtin_convertvector(x, FourDoubles);
    const FourDoubles off = __builtin_convertvector(y, FourDoubles) - was;
    square += was * was;
    error_square += off * off;
    error_dot += was * off;
    const coding::Floats size = coding::sizes(y - x);
    largest = size > largest ? size : largest;
  };
  int64_t i = 0;
  for (; i + coding::kLanes <= n; i += coding::kLanes) {
    add(coding::load(a + i), coding::load(b + i));
  }
  if (i < n) add(coding::load_some(a + i, n - i), coding::load_some(b + i, n - i));
  to.square = folded(square);
  to.error_square = folded(error_square);
  to.error_dot = folded(error_dot);
  to.largest = std::max({largest[0], largest[1], largest[2], largest[3]});
}

Sums row_sums(const float* a, const float* b, int64_t n) {
  Sums sums;
  VectorCode<row_loop>::run(a, b, n, sums);
  return sums;
}

template <typename F>
uint64_t count(const uint8_t* codes, int64_t n, F&& f) {
  constexpr int64_t kChunk = 1 << 16;
  uint64_t found = 0;
  for (int64_t first = 0; first < n; first += kChunk) {
    uint32_t here = 0;
    for (int64_t i = first; i < std::min(n, first + kChunk); ++i) here += f(codes[i]) ? 1u : 0u;
    found += here;
  }
  return found;
}

}  // namespace

void CodeCounts::add(const CodeCounts& other) {
  n += other.n;
  n_saturated += other.n_saturated;
  n_zero += other.n_zero;
  n_subnormal += other.n_subnormal;
}

CodeCounts count_codes(const PackSpec& spec, const CodedRows& rows) {
  const int64_t n = rows.n_rows * spec.n_cols;
  const uint8_t* const codes = rows.codes;
  CodeCounts counts{.n = static_cast<uint64_t>(n)};
  const CodeType type = scheme_of(*spec.dialect).codes;
  if (type != CodeType::integer) {
    const int largest = type == CodeType::e4m3 ? 0x7E : 7;
    const int sizes = type == CodeType::e4m3 ? 0x7F : 7;
    const int first_normal = type == CodeType::e4m3 ? 8 : 2;
    counts.n_saturated = count(codes, n, [=](int c) { return (c & sizes) == largest; });
    counts.n_zero = count(codes, n, [=](int c) { return (c & sizes) == 0; });
    counts.n_subnormal =
        count(codes, n, [=](int c) { return (c & sizes) != 0 && (c & sizes) < first_normal; });
    return counts;
  }
  const int most = (1 << spec.bits) - 1;
  counts.n_saturated = count(codes, n, [=](int c) { return c == 0 || c == most; });
  const int64_t patch = spec.patch_cols(), n_patches = spec.n_patches();
  const auto zero_of = [&](int64_t r, int64_t p) {
    return rows.zeros == nullptr ? 1 << (spec.bits - 1) : int{rows.zeros[r * n_patches + p]};
  };
  for (int64_t r = 0; r < rows.n_rows; ++r) {
    const uint8_t* const row = codes + r * spec.n_cols;
    for (int64_t c = 0; c < spec.n_cols && rows.group_map != nullptr; ++c) {
      counts.n_zero += row[c] == zero_of(r, rows.group_map[c]) ? 1 : 0;
    }
    for (int64_t p = 0; p < n_patches && rows.group_map == nullptr; ++p) {
      const int zero = zero_of(r, p);
      const int64_t end = std::min((p + 1) * patch, spec.n_cols);
      counts.n_zero += count(row + p * patch, end - p * patch, [=](int c) { return c == zero; });
    }
  }
  return counts;
}

int ErrorStats::bin_of(float relative) {
  const auto bin = static_cast<int>(coding::bits_of(relative) >> 17) - kFirstBin + 1;
  return std::clamp(bin, 0, kBins - 1);
}

void ErrorStats::add_block(const float* original, const float* other, int64_t n_rows,
                           int64_t n_cols, int64_t stride) {
  Sums sums;
  for (int64_t r = 0; r < n_rows; ++r) {
    const Sums row = row_sums(original + r * stride, other + r * stride, n_cols);
    sums.square += row.square;
    sums.error_square += row.error_square;
    sums.error_dot += row.error_dot;
    sums.largest = std::max(sums.largest, row.largest);
  }
  ++n_blocks_;
  n_values_ += static_cast<uint64_t>(n_rows * n_cols);
  if (!std::isfinite(sums.square + sums.error_square)) {
    ++n_unusable_;
    return;
  }
  square_.add(sums.square);
  error_square_.add(sums.error_square);
  error_dot_.add(sums.error_dot);
  largest_error_ = std::max(largest_error_, sums.largest);
  n_zero_blocks_ += sums.square == 0 ? 1 : 0;
  const double error = sums.error_square;
  const auto relative =
      static_cast<float>(error == 0 ? 0 : std::sqrt(error / (sums.square == 0 ? 1 : sums.square)));
  block_largest_ = std::max(block_largest_, relative);
  ++histogram_[static_cast<size_t>(bin_of(relative))];
}

void ErrorStats::add_matrix(const float* original, const float* other, int64_t n_rows,
                            int64_t n_cols, int64_t block_rows, int64_t block_cols) {
  for (int64_t r = 0; r < n_rows; r += block_rows) {
    for (int64_t c = 0; c < n_cols; c += block_cols) {
      const int64_t at = r * n_cols + c;
      add_block(original + at, other + at, std::min(block_rows, n_rows - r),
                std::min(block_cols, n_cols - c), n_cols);
    }
  }
}

void ErrorStats::add(const ErrorStats& other) {
  n_values_ += other.n_values_;
  n_blocks_ += other.n_blocks_;
  n_zero_blocks_ += other.n_zero_blocks_;
  n_unusable_ += other.n_unusable_;
  square_.merge(other.square_);
  error_square_.merge(other.error_square_);
  error_dot_.merge(other.error_dot_);
  largest_error_ = std::max(largest_error_, other.largest_error_);
  block_largest_ = std::max(block_largest_, other.block_largest_);
  for (size_t i = 0; i < histogram_.size(); ++i) histogram_[i] += other.histogram_[i];
}

double ErrorStats::percentile(double share) const {
  const uint64_t n = n_blocks_ - n_unusable_;
  const auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(n)));
  uint64_t seen = 0;
  for (size_t i = 0; i < histogram_.size(); ++i) {
    seen += histogram_[i];
    if (seen == 0 || seen < wanted) continue;
    if (i == 0) return 0;
    const auto bits = static_cast<uint32_t>(static_cast<int>(i) - 1 + kFirstBin) << 17 | 1u << 16;
    return coding::float_of(bits);
  }
  return 0;
}

ErrorReport ErrorStats::report() const {
  ErrorReport r;
  r.n_values = n_values_;
  r.n_blocks = n_blocks_;
  r.n_zero_blocks = n_zero_blocks_;
  r.n_unusable_blocks = n_unusable_;
  const double aa = square_.value(), dd = error_square_.value(), ad = error_dot_.value();
  const double bb = std::max(0.0, aa + 2 * ad + dd);
  const double a = std::sqrt(aa), b = std::sqrt(bb);
  if (a > 0 && b > 0) {
    // |b| - |a| without cancellation: (|b|^2 - |a|^2) / (|b| + |a|).
    const double longer = (2 * ad + dd) / (a + b);
    r.one_minus_cosine = std::clamp((dd - longer * longer) / (2 * a * b), 0.0, 2.0);
    r.cosine = 1 - r.one_minus_cosine;
  }
  r.relative_l2 = a > 0 ? std::sqrt(dd) / a : std::sqrt(dd);
  if (a > 0) r.norm_ratio = b / a;
  if (a > 0 && dd > 0) r.sqnr_db = 10 * std::log10(aa / dd);
  r.largest_error = largest_error_;
  r.block_p50 = percentile(0.5);
  r.block_p90 = percentile(0.9);
  r.block_p99 = percentile(0.99);
  r.block_largest = block_largest_;
  r.identical = dd == 0 && n_unusable_ == 0;
  return r;
}

}  // namespace mm2
