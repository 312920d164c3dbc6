#include "tools/quantize/gptq.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tools/quantize/lanes.h"

namespace mm2 {
namespace {

constexpr int64_t kRows = 8;  // that are rounded side by side, one in each lane

using Lanes = double[kRows];

double nearest(double x) {  // ties to even, |x| below 2^51
  return (x + 0x1.8p52) - 0x1.8p52;
}

double held(double x, double low, double high) {
  return x < low ? low : x > high ? high : x;
}

/// One column of all rows.
struct RowLanes {
  static constexpr int kVectors = kRows / 2;
  coding::Doubles v[kVectors];
};
static_assert(sizeof(RowLanes) == sizeof(Lanes));

RowLanes take(const double* from) {
  RowLanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

/// Scale and zero of one group for each lane.
struct GroupLanes {
  Lanes scale, zero;
};

/// A few rows on their way. Weights are [n_cols, kRows] in the order of rounding.
class Tile {
 public:
  Tile(const HessianFactor& factor, const GptqOptions& options, int64_t group)
      : factor_(factor),
        options_(options),
        n_cols_(factor.n_cols),
        group_(group),
        block_(options.block),
        levels_(static_cast<double>((1 << options.bits) - 1)),
        half_(static_cast<double>(1 << (options.bits - 1))),
        weights_(static_cast<size_t>(n_cols_ * kRows)),
        working_(static_cast<size_t>(block_ * kRows)),
        errors_(static_cast<size_t>(block_ * kRows)),
        codes_(static_cast<size_t>(n_cols_ * kRows)),
        groups_(static_cast<size_t>(group == 0 ? 0 : n_cols_ / group)) {}

  void load(const WeightRows& rows, int64_t first) {
    std::fill(weights_.begin(), weights_.end(), 0.0);
    for (int64_t r = 0; r < std::min(kRows, rows.n_rows - first); ++r) {
      const float* const row = rows.row(first + r);
      for (int64_t c = 0; c < n_cols_; ++c) {
        const auto column = static_cast<size_t>(factor_.order[static_cast<size_t>(c)]);
        if (factor_.dead[column] == 0) at(c)[r] = row[column];
      }
    }
  }

  // Scales and zeros that were found beforehand, [n_rows, n_groups] by column.
  void set_groups(const float* scales, const uint8_t* zeros, int64_t n_rows) {
    const auto n_groups = static_cast<int64_t>(groups_.size());
    for (int64_t g = 0; g < n_groups; ++g) {
      for (int64_t r = 0; r < kRows; ++r) {
        GroupLanes& lanes = groups_[static_cast<size_t>(g)];
        lanes.scale[r] = r < n_rows ? scales[r * n_groups + g] : 1;
        lanes.zero[r] = r < n_rows ? zeros[r * n_groups + g] : half_;
      }
    }
  }

  void round_all() {
    for (int64_t first = 0; first < n_cols_; first += block_) {
      const int64_t n = std::min(block_, n_cols_ - first);
      std::memcpy(working_.data(), at(first), static_cast<size_t>(n) * sizeof(Lanes));
      for (int64_t i = 0; i < n; ++i) round_column(first, i, n);
      spread(first, n);
    }
  }

  uint8_t code(int64_t c, int64_t r) const { return codes_[static_cast<size_t>(c * kRows + r)]; }
  const GroupLanes& group(int64_t g) const { return groups_[static_cast<size_t>(g)]; }

 private:
  bool beforehand() const { return options_.rule == GptqRule::llm_compressor; }
  double* at(int64_t c) { return weights_.data() + c * kRows; }
  double upper(int64_t i, int64_t j) const {
    return factor_.upper[static_cast<size_t>(i * n_cols_ + j)];
  }

  GroupLanes& group_of(int64_t c) {
    if (!beforehand()) return groups_[static_cast<size_t>(c / group_)];
    return groups_[static_cast<size_t>(factor_.order[static_cast<size_t>(c)] / group_)];
  }

  void round_column(int64_t first, int64_t i, int64_t n) {
    const int64_t c = first + i;
    if (!beforehand() && c % group_ == 0) find_group(c);
    const GroupLanes& g = group_of(c);
    double* const w = working_.data() + i * kRows;
    double* const e = errors_.data() + i * kRows;
    const double diagonal = upper(c, c);
    for (int64_t r = 0; r < kRows; ++r) {
      // compressed-tensors adds the zero before it rounds, which decides ties
      const double q =
          beforehand()
              ? nearest(held(w[r] / g.scale[r] + (g.zero[r] - half_), -half_, levels_ - half_)) +
                    half_
              : held(nearest(w[r] / g.scale[r]) + g.zero[r], 0, levels_);
      codes_[static_cast<size_t>(c * kRows + r)] = static_cast<uint8_t>(q);
      e[r] = (w[r] - g.scale[r] * (q - g.zero[r])) / diagonal;
    }
    for (int64_t j = i; j < n; ++j) {
      const double u = upper(c, first + j);
      double* const to = working_.data() + j * kRows;
      for (int64_t r = 0; r < kRows; ++r) to[r] -= e[r] * u;
    }
  }

  // What the columns of a block changed, for all behind it. Two columns at a time stay in registers.
  void spread(int64_t first, int64_t n) {
    int64_t j = first + n;
    for (; j + 2 <= n_cols_; j += 2) {
      RowLanes a = take(at(j)), b = take(at(j + 1));
      const double* u = factor_.upper.data() + first * n_cols_ + j;
      for (int64_t i = 0; i < n; ++i, u += n_cols_) {
        const double* const e = errors_.data() + i * kRows;
        for (int l = 0; l < RowLanes::kVectors; ++l) {
          coding::Doubles off;
          std::memcpy(&off, e + 2 * l, sizeof off);
          a.v[l] -= off * u[0];
          b.v[l] -= off * u[1];
        }
      }
      std::memcpy(at(j), &a, sizeof a);
      std::memcpy(at(j + 1), &b, sizeof b);
    }
    for (; j < n_cols_; ++j) {
      for (int64_t i = 0; i < n; ++i) {
        const double u = upper(first + i, j);
        for (int64_t r = 0; r < kRows; ++r) {
          at(j)[r] -= errors_[static_cast<size_t>(i * kRows + r)] * u;
        }
      }
    }
  }

  // From the weights as the last whole block left them.
  void find_group(int64_t c) {
    GroupLanes& g = groups_[static_cast<size_t>(c / group_)];
    for (int64_t r = 0; r < kRows; ++r) {
      double low = 0, high = 0;
      for (int64_t k = c; k < c + group_; ++k) {
        low = std::min(low, at(k)[r]);
        high = std::max(high, at(k)[r]);
      }
      if (options_.symmetric) {
        high = std::max(-low, high);
        low = low < 0 ? -high : low;
      }
      if (low == 0 && high == 0) low = -1, high = 1;
      g.scale[r] = (high - low) / levels_;
      g.zero[r] = options_.symmetric ? half_ : nearest(-low / g.scale[r]);
      if (options_.mse_norm > 0) search(c, r, low, high, g);
      g.scale[r] = std::max(g.scale[r], 0x1p-126);
    }
  }

  // Smaller ranges, down to a fifth; the first of those with the least error.
  void search(int64_t c, int64_t r, double low, double high, GroupLanes& g) {
    constexpr int kSteps = 80;
    double best = 0;
    for (int i = 0; i < kSteps; ++i) {
      const double part = 1 - i / 100.0;
      const double scale = part * (high - low) / levels_;
      const double zero = options_.symmetric ? half_ : nearest(-part * low / scale);
      double error = 0;
      for (int64_t k = c; k < c + group_; ++k) {
        const double w = at(k)[r];
        const double q = held(nearest(w / scale) + zero, 0, levels_);
        error += std::pow(std::fabs(scale * (q - zero) - w), options_.mse_norm);
      }
      if (i > 0 && !(error < best)) continue;
      best = error;
      g.scale[r] = scale;
      g.zero[r] = zero;
    }
  }

  const HessianFactor& factor_;
  const GptqOptions& options_;
  const int64_t n_cols_, group_, block_;
  const double levels_, half_;
  std::vector<double> weights_, working_, errors_;
  std::vector<uint8_t> codes_;
  std::vector<GroupLanes> groups_;
};

/// The group of the columns from place i * group on in the order of rounding; empty where columns of
/// several groups are there.
std::vector<int64_t> natural_groups(const HessianFactor& factor, int64_t group) {
  std::vector<int64_t> groups;
  for (size_t c = 0; c < factor.order.size(); ++c) {
    const int64_t natural = factor.order[c] / group;
    if (static_cast<int64_t>(c) % group == 0) groups.push_back(natural);
    if (groups.back() != natural) return {};
  }
  return groups;
}

Status check(const WeightRows& rows, const HessianFactor& factor, const GptqOptions& options) {
  if (options.bits < 2 || options.bits > 8 || options.block < 1 || options.group < 0) {
    return error(Code::invalid_argument, "GPTQ with ", options.bits, " bits, blocks of ",
                 options.block, " and groups of ", options.group);
  }
  if (rows.n_cols != factor.n_cols) {
    return error(Code::invalid_argument, "the matrix has ", rows.n_cols, " columns, the Hessian ",
                 factor.n_cols);
  }
  const int64_t group = options.group == 0 ? rows.n_cols : options.group;
  if (group != 0 && rows.n_cols % group != 0) {
    return error(Code::invalid_argument, "groups of ", group, " columns do not divide ",
                 rows.n_cols, " columns");
  }
  for (int64_t r = 0; r < rows.n_rows; ++r) {
    if (!coding::extremes(rows.row(r), rows.n_cols).finite) return coding::not_finite(rows);
  }
  return {};
}

}  // namespace

Status quantize_gptq(const WeightRows& rows, const HessianFactor& factor,
                     const GptqOptions& options, uint8_t* codes, float* scales, uint8_t* zeros) {
  MM2_RETURN_IF_ERROR(check(rows, factor, options));
  if (rows.n_cols == 0) return {};
  const int64_t group = options.group == 0 ? rows.n_cols : options.group;
  const int64_t n_groups = rows.n_cols / group;
  if (options.rule == GptqRule::llm_compressor) {
    const IntOptions plain{.rule = IntRule::compressed_tensors,
                           .bits = options.bits,
                           .symmetric = options.symmetric,
                           .group = group};
    MM2_RETURN_IF_ERROR(quantize_integers(rows, plain, codes, scales, zeros));
  }
  std::vector<int64_t> places;  // where scales go, which are in the order of rounding
  if (options.rule == GptqRule::gptqmodel) places = natural_groups(factor, group);
  Tile tile(factor, options, group);
  for (int64_t first = 0; first < rows.n_rows; first += kRows) {
    const int64_t n = std::min(kRows, rows.n_rows - first);
    const int64_t g0 = first * n_groups;
    tile.load(rows, first);
    if (options.rule == GptqRule::llm_compressor) tile.set_groups(scales + g0, zeros + g0, n);
    tile.round_all();
    for (int64_t r = 0; r < n; ++r) {
      for (int64_t c = 0; c < rows.n_cols; ++c) {
        const int32_t column = factor.order[static_cast<size_t>(c)];
        codes[(first + r) * rows.n_cols + column] = tile.code(c, r);
      }
      for (int64_t g = 0; g < n_groups; ++g) {
        const int64_t at =
            g0 + r * n_groups + (places.empty() ? g : places[static_cast<size_t>(g)]);
        scales[at] = static_cast<float>(tile.group(g).scale[r]);
        zeros[at] = static_cast<uint8_t>(tile.group(g).zero[r]);
        if (std::isfinite(scales[at])) continue;
        return error(Code::numeric, "row ", rows.first_row + first + r, ", group ", g,
                     ": its scale is not finite");
      }
    }
  }
  return {};
}

std::vector<int32_t> gptq_group_map(const HessianFactor& factor, const GptqOptions& options) {
  const int64_t group = options.group == 0 ? factor.n_cols : options.group;
  if (options.rule == GptqRule::llm_compressor || factor.order.empty() ||
      !natural_groups(factor, group).empty()) {
    return {};
  }
  std::vector<int32_t> map(factor.order.size());
  for (size_t c = 0; c < map.size(); ++c) {
    map[static_cast<size_t>(factor.order[c])] =
        static_cast<int32_t>(static_cast<int64_t>(c) / group);
  }
  return map;
}

}  // namespace mm2
