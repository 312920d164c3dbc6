#include "tools/awq_folding.h"

#include <algorithm>
#include <cmath>

#include "tensor/convert.h"

namespace mm2 {
namespace {

constexpr int64_t kTileRows = 64;
constexpr int kGrid = 20;

bool is_norm(Role role) {
  return role == Role::input_norm || role == Role::post_attention_norm;
}

float as_stored(double x, Dtype dtype) {
  const auto f = static_cast<float>(x);
  if (dtype == Dtype::bf16) return bf16_to_f32(f32_to_bf16(f));
  return dtype == Dtype::f16 ? f16_to_f32(f32_to_f16(f)) : f;
}

Status each_tile(const CheckpointView& view, const ViewWeight& weight,
                 const std::function<Status(const WeightRows&)>& each) {
  const int64_t n_cols = weight.place.n_cols();
  std::vector<float> rows;
  for (int64_t first = 0; first < weight.place.n_rows(); first += kTileRows) {
    const int64_t n = std::min(kTileRows, weight.place.n_rows() - first);
    rows.resize(static_cast<size_t>(n * n_cols));
    MM2_RETURN_IF_ERROR(view.rows(weight, first, n, rows.data()));
    MM2_RETURN_IF_ERROR(each({rows.data(), n, n_cols, first}).in(weight.place.name));
  }
  return {};
}

/// Inputs of one matrix.
struct Inputs {
  std::vector<double> sizes;   // [n_cols] sums
  std::vector<float> moments;  // [n_cols], or [n_cols, n_cols] where Hessians are there
  double n = 0;                // rows that the sums are over
};

}  // namespace

/// All scales, layer by layer.
class AwqFolding::Search {
 public:
  Search(const CheckpointView& view, const CalibrationStats& stats, const IntOptions& codes,
         const Takes& takes, Executor& executor, AwqFolding& to)
      : view_(view), stats_(stats), codes_(codes), takes_(takes), executor_(executor), to_(to) {
    by_layer_.resize(to.layers_.size());
    for (const ViewWeight& weight : view.weights()) {
      if (weight.place.layer >= 0 && (is_linear(weight.place.role) || is_norm(weight.place.role))) {
        by_layer_[static_cast<size_t>(weight.place.layer)].push_back(&weight);
      }
    }
  }

  Status layer(size_t l) {
    Layer& layer = to_.layers_[l];
    MM2_RETURN_IF_ERROR(normed(l, Role::input_norm, {Role::q_proj, Role::k_proj, Role::v_proj},
                               layer.attention, layer.input_norm));
    MM2_RETURN_IF_ERROR(normed(l, Role::post_attention_norm, {Role::w1, Role::w3}, layer.experts,
                               layer.post_attention_norm));
    return inner(l);
  }

 private:
  std::vector<const ViewWeight*> of(size_t l, std::span<const Role> roles, int32_t expert) const {
    std::vector<const ViewWeight*> found;
    for (const ViewWeight* weight : by_layer_[l]) {
      const bool wanted = expert < 0 || weight->place.expert == expert;
      if (wanted && std::find(roles.begin(), roles.end(), weight->place.role) != roles.end()) {
        found.push_back(weight);
      }
    }
    return found;
  }

  bool all_taken(std::span<const ViewWeight* const> weights) const {
    return std::all_of(weights.begin(), weights.end(),
                       [&](const ViewWeight* weight) { return takes_(*weight); });
  }

  Result<Inputs> inputs(const WeightPlace& place) const {
    const char* const name = place.role == Role::w2 ? "w2_in"
                             : place.expert >= 0    ? "w1_in"
                                                    : "attention_in";
    Inputs in;
    MM2_ASSIGN_OR_RETURN(in.sizes, stats_.row(place.layer, join(name, ".sizes"), place.expert));
    const bool whole = stats_.has(place.layer, join(name, ".hessian"));
    MM2_ASSIGN_OR_RETURN(
        const auto moments,
        stats_.row(place.layer, join(name, whole ? ".hessian" : ".squares"), place.expert));
    in.moments.assign(moments.begin(), moments.end());
    const bool expert = place.expert >= 0;
    MM2_ASSIGN_OR_RETURN(const auto tokens,
                         stats_.row(place.layer, expert ? "expert_tokens" : "tokens", -1));
    in.n = tokens.at(expert ? static_cast<size_t>(place.expert) : 0);
    if (in.sizes.size() == static_cast<size_t>(place.n_cols())) return in;
    return error(Code::invalid_argument, "statistics of layer ", place.layer, ": ", name, " has ",
                 in.sizes.size(), " inputs, ", place.name, " wants ", place.n_cols());
  }

  // Each weight is one task; what tasks found is added in their order.
  Status in_parallel(size_t n, const std::function<Status(size_t)>& task) {
    std::vector<Status> done(n);
    executor_.run(static_cast<int32_t>(n), [&](int32_t i, int32_t) {
      done[static_cast<size_t>(i)] = task(static_cast<size_t>(i));
    });
    for (const Status& status : done) MM2_RETURN_IF_ERROR(status);
    return {};
  }

  // The best scale for matrices with the same inputs; empty where leaving them is best.
  Result<Scales> best(std::span<const ViewWeight* const> weights, bool parallel) {
    const auto n_cols = static_cast<size_t>(weights.front()->place.n_cols());
    const auto run = [&](const std::function<Status(size_t)>& task) -> Status {
      if (parallel) return in_parallel(weights.size(), task);
      for (size_t i = 0; i < weights.size(); ++i) MM2_RETURN_IF_ERROR(task(i));
      return {};
    };
    std::vector<Scales> sizes(weights.size(), Scales(n_cols));
    std::vector<Inputs> seen(weights.size());
    MM2_RETURN_IF_ERROR(run([&](size_t i) -> Status {
      MM2_ASSIGN_OR_RETURN(seen[i], inputs(weights[i]->place));
      std::vector<float>().swap(seen[i].moments);  // read again where they are needed
      return each_tile(view_, *weights[i], [&](const WeightRows& rows) -> Status {
        for (int64_t r = 0; r < rows.n_rows; ++r) {
          if (!coding::extremes(rows.row(r), rows.n_cols).finite) return coding::not_finite(rows);
        }
        add_weight_sizes(rows, codes_.group_of(rows.n_cols), sizes[i]);
        return {};
      });
    }));
    Scales input_mean(n_cols), weight_mean(n_cols);
    double n_inputs = 0, n_rows = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      n_inputs += seen[i].n;
      n_rows += static_cast<double>(weights[i]->place.n_rows());
      for (size_t c = 0; c < n_cols; ++c) {
        input_mean[c] += seen[i].sizes[c];
        weight_mean[c] += sizes[i][c];
      }
    }
    if (n_inputs == 0) return Scales();
    for (size_t c = 0; c < n_cols; ++c) {
      input_mean[c] /= n_inputs;
      weight_mean[c] /= n_rows;
    }
    std::vector<Scales> candidates;
    for (const AwqCandidate& candidate : awq_candidates(true, kGrid)) {
      candidates.push_back(awq_scales(candidate, input_mean, weight_mean));
    }
    std::vector<Scales> losses(weights.size(), Scales(candidates.size()));
    MM2_RETURN_IF_ERROR(run([&](size_t i) -> Status {
      if (seen[i].n == 0) return {};
      MM2_ASSIGN_OR_RETURN(const Inputs in, inputs(weights[i]->place));
      return each_tile(view_, *weights[i], [&](const WeightRows& rows) -> Status {
        for (size_t k = 0; k < candidates.size(); ++k) {
          MM2_ASSIGN_OR_RETURN(const double loss,
                               awq_moment_loss(rows, candidates[k], codes_, in.moments));
          losses[i][k] += loss;
        }
        return {};
      });
    }));
    size_t chosen = 0;
    double least = INFINITY;
    for (size_t k = 0; k < candidates.size(); ++k) {
      double loss = 0;
      for (const Scales& one : losses) loss += one[k];
      if (loss < least) {
        least = loss;
        chosen = k;
      }
    }
    return chosen == 0 ? Scales() : candidates[chosen];
  }

  // Matrices after a norm.
  Status normed(size_t l, Role norm_role, std::vector<Role> roles, Scales& scales,
                std::vector<float>& folded) {
    const auto weights = of(l, roles, -1);
    if (weights.empty() || !all_taken(weights)) return {};
    MM2_ASSIGN_OR_RETURN(Scales found, best(weights, true));
    const auto norms = of(l, std::span(&norm_role, 1), -1);
    if (found.empty() || norms.empty()) return {};
    const ViewWeight& norm = *norms.front();
    folded.resize(found.size());
    MM2_RETURN_IF_ERROR(view_.rows(norm, 0, 1, folded.data()));
    for (size_t c = 0; c < found.size(); ++c) {
      const double before = folded[c];
      const float after = as_stored(before / found[c], norm.description.dtype());
      // a channel that is nothing stays so, and one that would become nothing is left
      const bool usable = before != 0 && after != 0 && std::isfinite(after);
      found[c] = usable ? before / after : 1;
      if (usable) folded[c] = after;
    }
    scales = std::move(found);
    ++to_.n_scaled_;
    return {};
  }

  // w2 of each expert, whose scale goes into w3.
  Status inner(size_t l) {
    static constexpr Role kBoth[] = {Role::w2, Role::w3};
    std::vector<Scales>& scales = to_.layers_[l].w2;
    const Status status = in_parallel(scales.size(), [&](size_t e) -> Status {
      const auto expert = static_cast<int32_t>(e);
      if (!all_taken(of(l, kBoth, expert))) return {};
      const auto w2 = of(l, std::span(kBoth, 1), expert);
      if (w2.empty()) return {};
      MM2_ASSIGN_OR_RETURN(scales[e], best(w2, false));
      return {};
    });
    for (const Scales& one : scales) to_.n_scaled_ += one.empty() ? 0 : 1;
    return status;
  }

  const CheckpointView& view_;
  const CalibrationStats& stats_;
  const IntOptions& codes_;
  const Takes& takes_;
  Executor& executor_;
  AwqFolding& to_;
  std::vector<std::vector<const ViewWeight*>> by_layer_;
};

AwqFolding::AwqFolding(const CheckpointView& view)
    : layers_(static_cast<size_t>(view.config().n_layers)) {
  for (Layer& layer : layers_) layer.w2.resize(static_cast<size_t>(view.config().n_experts));
}

Result<AwqFolding> AwqFolding::find(const CheckpointView& view, const CalibrationStats& stats,
                                    const IntOptions& codes, const Takes& takes, Executor& executor,
                                    const Host& host) {
  AwqFolding folding(view);
  Search search(view, stats, codes, takes, executor, folding);
  const auto n = static_cast<uint64_t>(folding.layers_.size());
  for (size_t l = 0; l < folding.layers_.size(); ++l) {
    if (host.progress && !host.progress({kStageTool, l, n, "AWQ: scales"})) {
      return error(Code::cancelled, "quantize: stopped while searching scales of layer ", l);
    }
    MM2_RETURN_IF_ERROR(search.layer(l));
  }
  return folding;
}

std::span<const double> AwqFolding::columns(const WeightPlace& place) const {
  if (place.layer < 0) return {};
  const Layer& layer = layers_[static_cast<size_t>(place.layer)];
  switch (place.role) {
    case Role::q_proj:
    case Role::k_proj:
    case Role::v_proj:
      return layer.attention;
    case Role::router:
    case Role::w1:
    case Role::w3:
      return layer.experts;
    case Role::w2:
      return layer.w2[static_cast<size_t>(place.expert)];
    default:
      return {};
  }
}

std::span<const double> AwqFolding::divided_rows(const WeightPlace& place) const {
  if (place.role != Role::w3) return {};
  return layers_[static_cast<size_t>(place.layer)].w2[static_cast<size_t>(place.expert)];
}

bool AwqFolding::changes(const ViewWeight& weight) const {
  const WeightPlace& place = weight.place;
  if (place.layer < 0) return false;
  const Layer& layer = layers_[static_cast<size_t>(place.layer)];
  if (place.role == Role::input_norm) return !layer.input_norm.empty();
  if (place.role == Role::post_attention_norm) return !layer.post_attention_norm.empty();
  return !columns(place).empty() || !divided_rows(place).empty();
}

Status AwqFolding::rows(const CheckpointView& view, const ViewWeight& weight, int64_t first_row,
                        int64_t n_rows, float* to) const {
  const WeightPlace& place = weight.place;
  if (is_norm(place.role) && changes(weight)) {
    const Layer& layer = layers_[static_cast<size_t>(place.layer)];
    const auto& norm =
        place.role == Role::input_norm ? layer.input_norm : layer.post_attention_norm;
    std::copy(norm.begin(), norm.end(), to);
    return {};
  }
  MM2_RETURN_IF_ERROR(view.rows(weight, first_row, n_rows, to));
  if (!changes(weight)) return {};
  const std::span<const double> columns_by = columns(place), rows_by = divided_rows(place);
  const int64_t n_cols = place.n_cols();
  for (int64_t r = 0; r < n_rows; ++r) {
    const double row = rows_by.empty() ? 1 : rows_by[static_cast<size_t>(first_row + r)];
    for (int64_t c = 0; c < n_cols; ++c) {
      const double column = columns_by.empty() ? 1 : columns_by[static_cast<size_t>(c)];
      float& x = to[r * n_cols + c];
      x = static_cast<float>(x * column / row);
    }
  }
  return {};
}

}  // namespace mm2
