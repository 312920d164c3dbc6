#include "tools/expert_sketches.h"

#include <algorithm>
#include <cmath>

namespace mm2 {
namespace {

constexpr int64_t kSketchRows = 128;
constexpr size_t kProjections = 8;
constexpr double kLeastLikeness = 0.2;
constexpr double kDoubt = 0.2;

// Eight signs for each column, the bits of a number that depends on the column alone (splitmix64).
uint32_t signs_of_column(uint64_t column) {
  uint64_t x = (column + 1) * 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return static_cast<uint32_t>((x ^ (x >> 31)) >> 32);
}

// A unit vector; zeros where all weights are.
std::vector<double> sketch_of(const std::vector<float>& rows, size_t n_cols) {
  const size_t n_rows = rows.size() / n_cols;
  std::vector<double> sketch(n_rows * kProjections, 0);
  for (size_t k = 0; k < n_cols; ++k) {
    const uint32_t signs = signs_of_column(k);
    for (size_t r = 0; r < n_rows; ++r) {
      const auto value = static_cast<double>(rows[r * n_cols + k]);
      for (size_t p = 0; p < kProjections; ++p) {
        sketch[r * kProjections + p] += (signs >> p & 1) != 0 ? value : -value;
      }
    }
  }
  double square = 0;
  for (const double x : sketch) square += x * x;
  if (square > 0) {
    for (double& x : sketch) x /= std::sqrt(square);
  }
  return sketch;
}

Result<std::vector<std::vector<double>>> sketches(const Routers& model, int32_t layer) {
  std::vector<std::vector<double>> all;
  for (int32_t expert = 0; expert < model.config().n_experts; ++expert) {
    MM2_ASSIGN_OR_RETURN(const auto rows, model.rows_of(Role::w2, layer, expert, kSketchRows));
    all.push_back(sketch_of(rows, static_cast<size_t>(model.config().intermediate)));
  }
  return all;
}

Result<std::vector<Likeness>> compare_layer(const Routers& original, const Routers& reference,
                                            int32_t layer, const ExpertMatch& match) {
  MM2_ASSIGN_OR_RETURN(const auto ours, sketches(original, layer));
  MM2_ASSIGN_OR_RETURN(const auto theirs, sketches(reference, layer));
  std::vector<Likeness> found(theirs.size());
  for (size_t r = 0; r < theirs.size(); ++r) {
    for (size_t o = 0; o < ours.size(); ++o) {
      double cosine = 0;
      for (size_t i = 0; i < ours[o].size(); ++i) cosine += ours[o][i] * theirs[r][i];
      if (static_cast<int32_t>(o) == match.pairs[r].original) {
        found[r].likeness = cosine;
      } else if (found[r].runner_up < 0 || cosine > found[r].runner_up_likeness) {
        found[r].runner_up = static_cast<int32_t>(o);
        found[r].runner_up_likeness = cosine;
      }
    }
  }
  return found;
}

Status verdict_of(const ExpertMatch& match, const std::vector<Likeness>& found) {
  for (size_t r = 0; r < found.size(); ++r) {
    const Likeness& one = found[r];
    if (one.runner_up >= 0 && one.runner_up_likeness > one.likeness + kDoubt) {
      return error(Code::check_failed, "by its router, expert ", r, " of the reference is expert ",
                   match.pairs[r].original,
                   " of the original; its weights are like those of expert ", one.runner_up,
                   " (cosine ", one.runner_up_likeness, " against ", one.likeness, ")");
    }
    if (!(one.likeness >= kLeastLikeness)) {
      return error(Code::check_failed, "by its router, expert ", r, " of the reference is expert ",
                   match.pairs[r].original,
                   " of the original; their weights have nothing in common (", "cosine ",
                   one.likeness, ")");
    }
  }
  return {};
}

}  // namespace

Status confirm_by_weights(const Routers& original, const Routers& reference, Executor& executor,
                          MatchedModel& matched) {
  const ModelConfig& a = original.config();
  const ModelConfig& b = reference.config();
  if (a.hidden != b.hidden || a.intermediate != b.intermediate) {
    return error(Code::check_failed, "experts of ", original.path(), " are [", a.hidden, ", ",
                 a.intermediate, "], those of ", reference.path(), " [", b.hidden, ", ",
                 b.intermediate, "]");
  }
  const auto n_layers = static_cast<int32_t>(matched.layers.size());
  std::vector<std::vector<Likeness>> found(matched.layers.size());
  std::vector<Status> states(matched.layers.size());
  executor.run(n_layers, [&](int32_t layer, int32_t) {
    const auto l = static_cast<size_t>(layer);
    auto one = compare_layer(original, reference, layer, matched.layers[l]);
    if (one.ok()) {
      found[l] = *std::move(one);
    } else {
      states[l] = Status(one.status()).in(join("layer ", layer));
    }
  });
  for (const Status& state : states) MM2_RETURN_IF_ERROR(state);
  for (size_t l = 0; l < found.size() && matched.verdict.ok(); ++l) {
    matched.verdict = verdict_of(matched.layers[l], found[l]).in(join("layer ", l));
  }
  matched.by_weights = std::move(found);
  return {};
}

}  // namespace mm2
