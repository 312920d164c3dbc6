#include "tools/experts/matching.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "tools/experts/assignment.h"
#include "tools/experts/row_products.h"

namespace mm2 {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

size_t at(int32_t i) {
  return static_cast<size_t>(i);
}

Status check_rows(const RouterRows& rows, const char* whose) {
  if (rows.n_experts <= 0 || rows.hidden <= 0 ||
      rows.values.size() != at(rows.n_experts) * at(rows.hidden)) {
    return error(Code::check_failed, "the router of the ", whose, " has ", rows.values.size(),
                 " numbers for ", rows.n_experts, " experts of width ", rows.hidden,
                 "; wanted is at least one expert and one column");
  }
  for (int32_t i = 0; i < rows.n_experts; ++i) {
    bool zero = true;
    for (int32_t k = 0; k < rows.hidden; ++k) {
      const float value = rows.values[at(i) * at(rows.hidden) + at(k)];
      if (!std::isfinite(value)) {
        return error(Code::check_failed, "the router row of expert ", i, " of the ", whose,
                     " holds ", std::isnan(value) ? "NaN" : "infinity", " in column ", k);
      }
      zero = zero && value == 0;
    }
    if (zero) {
      return error(Code::check_failed, "the router row of expert ", i, " of the ", whose,
                   " is all zeros and has no direction");
    }
  }
  return {};
}

std::string named(const std::vector<int32_t>& experts) {
  std::string text;
  for (size_t i = 0; i < experts.size(); ++i) {
    if (i == 8) return join(text, " and ", experts.size() - i, " more");
    text += join(i == 0 ? "" : i + 1 == experts.size() ? " and " : ", ", experts[i]);
  }
  return text;
}

// Rows with -0 as +0, so that equal numbers are equal bytes.
std::vector<float> without_negative_zero(const RouterRows& rows) {
  std::vector<float> values(rows.values.begin(), rows.values.end());
  for (float& value : values) value += 0.0f;
  return values;
}

// The original whose row equals that of each expert of the reference, -1 where none does.
Result<std::vector<int32_t>> exact_pairs(const RouterRows& original, const RouterRows& reference) {
  const std::vector<float> ours = without_negative_zero(original);
  const std::vector<float> theirs = without_negative_zero(reference);
  const auto bytes = [&](const std::vector<float>& values, int32_t i) {
    return std::string_view(reinterpret_cast<const char*>(&values[at(i) * at(original.hidden)]),
                            at(original.hidden) * sizeof(float));
  };
  struct Equal {
    std::vector<int32_t> originals, references;
  };
  absl::flat_hash_map<std::string_view, Equal> groups;
  for (int32_t i = 0; i < original.n_experts; ++i) groups[bytes(ours, i)].originals.push_back(i);
  for (int32_t i = 0; i < reference.n_experts; ++i) {
    const auto found = groups.find(bytes(theirs, i));
    if (found != groups.end()) found->second.references.push_back(i);
  }
  std::vector<int32_t> pairs(at(reference.n_experts), -1);
  for (int32_t i = 0; i < original.n_experts; ++i) {
    const Equal& equal = groups[bytes(ours, i)];
    if (equal.references.empty() || equal.originals.front() != i) continue;
    if (equal.originals.size() != equal.references.size()) {
      return error(Code::check_failed, "experts ", named(equal.originals),
                   " of the original have equal router rows, and the reference has ",
                   equal.references.size(), " such rows (", named(equal.references),
                   "): the router does not tell which were kept");
    }
    for (size_t k = 0; k < equal.originals.size(); ++k) {
      pairs[at(equal.references[k])] = equal.originals[k];
    }
  }
  return pairs;
}

struct Distances {
  std::vector<double> plain;    // [n_reference, n_original]
  std::vector<double> centred;  // [n_reference, n_original]
};

Distances distances(const RouterRows& original, const RouterRows& reference) {
  const size_t n = at(original.n_experts), m = at(reference.n_experts), width = at(original.hidden);
  Distances result;
  result.plain = row_products(reference.values, original.values, m, n, width);
  result.centred.resize(m * n);
  std::vector<double> mean(width, 0);
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < width; ++k)
      mean[k] += static_cast<double>(original.values[i * width + k]);
  }
  double mean_square = 0;
  for (double& value : mean) {
    value /= static_cast<double>(n);
    mean_square += value * value;
  }
  struct Lengths {
    std::vector<double> plain, centred, along_mean;
  };
  const auto lengths = [&](const RouterRows& rows) {
    Lengths of;
    std::vector<double> wide(width);
    for (size_t i = 0; i < at(rows.n_experts); ++i) {
      const float* const row = &rows.values[i * width];
      std::copy_n(row, width, wide.begin());
      const double square = row_product(row, wide.data(), width);
      const double along = row_product(row, mean.data(), width);
      const double left = square - 2 * along + mean_square;
      of.plain.push_back(std::sqrt(square));
      of.along_mean.push_back(along);
      // What rounding leaves of a row that equals the mean has no direction.
      of.centred.push_back(left > 1e-12 * (square + mean_square) ? std::sqrt(left) : 0);
    }
    return of;
  };
  const Lengths theirs = lengths(reference), ours = lengths(original);
  for (size_t r = 0; r < m; ++r) {
    for (size_t o = 0; o < n; ++o) {
      const double product = result.plain[r * n + o];
      const double both = theirs.centred[r] * ours.centred[o];
      result.plain[r * n + o] = std::max(0.0, 1 - product / (theirs.plain[r] * ours.plain[o]));
      result.centred[r * n + o] =
          both == 0
              ? 1
              : 1 - (product - theirs.along_mean[r] - ours.along_mean[o] + mean_square) / both;
    }
  }
  return result;
}

// The costs of the experts that have no exact partner, among themselves.
struct Remaining {
  std::vector<int32_t> references, originals;
  std::vector<double> of(std::span<const double> costs, size_t n_originals) const {
    std::vector<double> result;
    result.reserve(references.size() * originals.size());
    for (const int32_t r : references) {
      for (const int32_t o : originals) result.push_back(costs[at(r) * n_originals + at(o)]);
    }
    return result;
  }
};

struct Solved {
  std::vector<int32_t> original;  // by reference
  std::vector<double>
      margin;  // exchange margin of that pair; negative where the optimum pairs otherwise
};

// Assigns the remaining rows; those with an exact partner keep it, and their margin is that of the
// whole problem.
Result<Solved> solve(std::span<const double> costs, const std::vector<int32_t>& exact,
                     const Remaining& remaining, int32_t n_originals) {
  const auto n_references = static_cast<int32_t>(exact.size());
  Solved solved;
  solved.original = exact;
  solved.margin.assign(exact.size(), kInfinity);
  const bool some_exact = remaining.references.size() < exact.size();
  if (some_exact) {
    MM2_ASSIGN_OR_RETURN(const Assignment whole, assign(costs, n_references, n_originals));
    const std::vector<double> margins = exchange_margins(costs, n_references, n_originals, whole);
    for (size_t r = 0; r < exact.size(); ++r) {
      solved.margin[r] = whole.column_of_row[r] == exact[r] ? margins[r] : 0;
    }
  }
  const auto n_rows = static_cast<int32_t>(remaining.references.size());
  const auto n_cols = static_cast<int32_t>(remaining.originals.size());
  const std::vector<double> part = remaining.of(costs, at(n_originals));
  MM2_ASSIGN_OR_RETURN(const Assignment best, assign(part, n_rows, n_cols));
  const std::vector<double> margins = exchange_margins(part, n_rows, n_cols, best);
  for (size_t i = 0; i < remaining.references.size(); ++i) {
    const size_t r = at(remaining.references[i]);
    solved.original[r] = remaining.originals[at(best.column_of_row[i])];
    solved.margin[r] = margins[i];
  }
  return solved;
}

// Cost, neighbours and margins of one pair from the whole table of distances.
ExpertPair describe(std::span<const double> plain, size_t n_references, size_t n_originals,
                    size_t reference, int32_t original) {
  ExpertPair pair;
  pair.original = original;
  pair.cost = plain[reference * n_originals + at(original)];
  pair.margin = pair.column_margin = kInfinity;
  for (size_t o = 0; o < n_originals; ++o) {
    const double margin = plain[reference * n_originals + o] - pair.cost;
    if (o != at(original) && margin < pair.margin) {
      pair.margin = margin;
      pair.runner_up = static_cast<int32_t>(o);
    }
  }
  for (size_t r = 0; r < n_references; ++r) {
    if (r == reference) continue;
    pair.column_margin =
        std::min(pair.column_margin, plain[r * n_originals + at(original)] - pair.cost);
  }
  pair.mutual = pair.margin >= 0 && pair.column_margin >= 0;
  return pair;
}

Status doubt(const ExpertPair& pair, size_t reference, const MatchOptions& options) {
  if (pair.cost > options.max_cost && pair.centred_cost > options.max_cost) {
    return error(Code::check_failed, "expert ", reference,
                 " of the reference has no partner: expert ", pair.original,
                 " of the original, the best that is left, is at cosine distance ", pair.cost,
                 ", and ", options.max_cost, " is allowed");
  }
  const std::string other =
      pair.runner_up < 0 ? std::string("another one") : join("expert ", pair.runner_up);
  return error(Code::check_failed, "expert ", reference, " of the reference is expert ",
               pair.original, " or ", other,
               " of the original: the assignment without the first pair costs only ",
               pair.exchange_margin, " more, and ", options.min_margin, " is wanted");
}

void judge(const MatchOptions& options, ExpertMatch& match) {
  match.smallest_margin = kInfinity;
  size_t n_doubtful = 0, worst = 0;
  for (size_t r = 0; r < match.pairs.size(); ++r) {
    ExpertPair& pair = match.pairs[r];
    const bool plain = pair.exchange_margin >= options.min_margin && pair.cost <= options.max_cost;
    const bool centred =
        pair.centred_margin >= options.min_margin && pair.centred_cost <= options.max_cost;
    pair.certain = pair.exact || plain || centred;
    if (!pair.exact) match.smallest_margin = std::min(match.smallest_margin, pair.exchange_margin);
    if (pair.certain) continue;
    if (n_doubtful++ == 0 || pair.exchange_margin < match.pairs[worst].exchange_margin) worst = r;
  }
  if (n_doubtful == 0) return;
  match.verdict = doubt(match.pairs[worst], worst, options);
  if (n_doubtful > 1) {
    match.verdict = error(Code::check_failed, match.verdict.message(), " (", n_doubtful - 1,
                          " more experts are as doubtful)");
  }
}

}  // namespace

Result<ExpertMatch> match_experts(const RouterRows& original, const RouterRows& reference,
                                  const MatchOptions& options) {
  MM2_RETURN_IF_ERROR(check_rows(original, "original"));
  MM2_RETURN_IF_ERROR(check_rows(reference, "reference"));
  if (original.hidden != reference.hidden) {
    return error(Code::check_failed, "the router of the original is ", original.hidden,
                 " wide, that of the reference ", reference.hidden);
  }
  if (reference.n_experts > original.n_experts) {
    return error(Code::check_failed, "the reference has ", reference.n_experts,
                 " experts, the original only ", original.n_experts);
  }
  MM2_ASSIGN_OR_RETURN(const std::vector<int32_t> exact, exact_pairs(original, reference));
  Remaining remaining;
  std::vector<char> taken(at(original.n_experts), 0);
  for (int32_t r = 0; r < reference.n_experts; ++r) {
    if (exact[at(r)] < 0) {
      remaining.references.push_back(r);
    } else {
      taken[at(exact[at(r)])] = 1;
    }
  }
  for (int32_t o = 0; o < original.n_experts; ++o) {
    if (!taken[at(o)]) remaining.originals.push_back(o);
  }
  const Distances costs = distances(original, reference);
  MM2_ASSIGN_OR_RETURN(const Solved plain,
                       solve(costs.plain, exact, remaining, original.n_experts));
  MM2_ASSIGN_OR_RETURN(const Solved centred,
                       solve(costs.centred, exact, remaining, original.n_experts));
  ExpertMatch match;
  for (size_t r = 0; r < exact.size(); ++r) {
    ExpertPair pair =
        describe(costs.plain, exact.size(), at(original.n_experts), r, plain.original[r]);
    pair.exact = exact[r] >= 0;
    pair.exchange_margin = plain.margin[r];
    pair.centred_cost = costs.centred[r * at(original.n_experts) + at(pair.original)];
    pair.centred_margin =
        centred.original[r] == pair.original ? centred.margin[r] : -centred.margin[r];
    taken[at(pair.original)] = 1;
    match.ascending = match.ascending && (r == 0 || pair.original > match.pairs.back().original);
    match.total_cost += pair.cost;
    match.pairs.push_back(pair);
  }
  for (int32_t o = 0; o < original.n_experts; ++o) {
    if (!taken[at(o)]) match.deleted.push_back(o);
  }
  judge(options, match);
  return match;
}

}  // namespace mm2
