// match, reap: the operations of `mm2 tensor OP` on routers and experts.
#include <cstring>

#include "tools/experts/matching.h"
#include "tools/experts/routing.h"
#include "tools/experts/selection.h"
#include "tools/option_reader.h"
#include "tools/tensor_op.h"

namespace mm2 {
namespace {

Status wants(std::span<const NamedTensor> tensors, size_t n, const char* which) {
  if (tensors.size() == n) return {};
  return error(Code::invalid_argument, tensors.size(), " tensors were given, wanted are ", n, ": ",
               which);
}

Status has_rank(const NamedTensor& tensor, int rank) {
  if (tensor.shape.rank() == rank) return {};
  return error(Code::invalid_argument, "tensor ", tensor.name, " has shape ",
               tensor.shape.to_string(), ", wanted is one of ", rank, " extents");
}

NamedTensor of_doubles(std::string name, const std::vector<double>& values) {
  NamedTensor tensor{std::move(name), Dtype::f64, {static_cast<int64_t>(values.size())}, {}};
  tensor.bytes.resize(values.size() * sizeof(double));
  if (!values.empty()) std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

NamedTensor of_ids(std::string name, const std::vector<int32_t>& values) {
  NamedTensor tensor{std::move(name), Dtype::i32, {static_cast<int64_t>(values.size())}, {}};
  tensor.bytes.resize(values.size() * sizeof(int32_t));
  if (!values.empty()) std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

struct ReapOptions {
  int32_t top_k = 0;
  std::string method = "reap";
  double ratio = 0;
  int32_t n_removed = -1;
  std::vector<int32_t> protect;
};

Result<ReapOptions> read_reap(const Json& params) {
  static constexpr std::string_view kAllowed[] = {"top_k", "method", "ratio", "n_removed",
                                                  "protect"};
  const OptionReader reader("tensor reap", params);
  MM2_RETURN_IF_ERROR(reader.check_names(kAllowed));
  ReapOptions to;
  MM2_RETURN_IF_ERROR(reader.integer("top_k", 1, INT32_MAX, to.top_k));
  MM2_RETURN_IF_ERROR(reader.text("method", to.method));
  MM2_RETURN_IF_ERROR(reader.number("ratio", 0, 1, to.ratio));
  MM2_RETURN_IF_ERROR(reader.integer("n_removed", 0, INT32_MAX, to.n_removed));
  if (const Json* protect = reader.find("protect")) {
    if (!protect->is_array()) return reader.wrong("protect", "must be a list of experts");
    for (const Json& id : *protect) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX) {
        return reader.wrong("protect", "must be a list of experts");
      }
      to.protect.push_back(id.get<int32_t>());
    }
  }
  if (to.top_k == 0) return reader.wrong("top_k", "must be given");
  if (!saliency_method(to.method)) {
    return reader.wrong("method",
                        "must be reap, frequency, ean_sum, ean_mean, weighted_ean_sum, "
                        "weighted_frequency_sum, reap_l2 or max_activations");
  }
  return to;
}

// Numbers of one layer, and the weights that point into them.
struct MoeNumbers {
  std::vector<float> router, bias, w1, w2, w3, tokens;
  MoeWeights weights;
};

Result<std::unique_ptr<MoeNumbers>> read_layer(std::span<const NamedTensor> tensors,
                                               int32_t top_k) {
  MM2_RETURN_IF_ERROR(wants(tensors, 6, "router, router bias, w1, w2, w3, tokens"));
  for (const auto& [i, rank] : {std::pair{0, 2}, {2, 3}, {3, 3}, {4, 3}, {5, 2}}) {
    MM2_RETURN_IF_ERROR(has_rank(tensors[static_cast<size_t>(i)], rank));
  }
  auto layer = std::make_unique<MoeNumbers>();
  std::vector<float>* const numbers[] = {&layer->router, &layer->bias, &layer->w1,
                                         &layer->w2,     &layer->w3,   &layer->tokens};
  for (size_t i = 0; i < tensors.size(); ++i) {
    MM2_ASSIGN_OR_RETURN(*numbers[i], to_f32(tensors[i]));
  }
  const Shape& w1 = tensors[2].shape;
  for (const int64_t extent : w1.extents()) {
    if (extent > INT32_MAX) return error(Code::invalid_argument, "w1 has shape ", w1.to_string());
  }
  MoeWeights& weights = layer->weights;
  weights.n_experts = static_cast<int32_t>(w1[0]);
  weights.intermediate = static_cast<int32_t>(w1[1]);
  weights.hidden = static_cast<int32_t>(w1[2]);
  weights.top_k = top_k;
  weights.router = layer->router;
  weights.bias = layer->bias;
  weights.w1 = layer->w1;
  weights.w2 = layer->w2;
  weights.w3 = layer->w3;
  return layer;
}

}  // namespace

Status match_op(const Json& params, std::span<const NamedTensor> tensors, TensorOpResult& result) {
  static constexpr std::string_view kAllowed[] = {"min_margin", "max_cost"};
  const OptionReader reader("tensor match", params);
  MM2_RETURN_IF_ERROR(reader.check_names(kAllowed));
  MatchOptions options;
  MM2_RETURN_IF_ERROR(reader.number("min_margin", 0, 2, options.min_margin));
  MM2_RETURN_IF_ERROR(reader.number("max_cost", 0, 2, options.max_cost));
  MM2_RETURN_IF_ERROR(wants(tensors, 2, "the router of the original, that of the reference"));
  std::vector<float> values[2];
  RouterRows rows[2];
  for (size_t i = 0; i < 2; ++i) {
    MM2_RETURN_IF_ERROR(has_rank(tensors[i], 2));
    MM2_ASSIGN_OR_RETURN(values[i], to_f32(tensors[i]));
    const Shape& shape = tensors[i].shape;
    if (shape[0] > INT32_MAX || shape[1] > INT32_MAX) {
      return error(Code::invalid_argument, tensors[i].name, " has shape ", shape.to_string());
    }
    rows[i] = {values[i], static_cast<int32_t>(shape[0]), static_cast<int32_t>(shape[1])};
  }
  MM2_ASSIGN_OR_RETURN(const ExpertMatch match, match_experts(rows[0], rows[1], options));
  MM2_RETURN_IF_ERROR(match.verdict);
  std::vector<int32_t> retained;
  std::vector<double> costs, margins, exchange;
  Json exact = Json::array();
  for (const ExpertPair& pair : match.pairs) {
    retained.push_back(pair.original);
    costs.push_back(pair.cost);
    margins.push_back(pair.margin);
    exchange.push_back(pair.exchange_margin);
    exact.push_back(pair.exact);
  }
  result.figures = {{"deleted", match.deleted},
                    {"retained_in_reference_order", retained},
                    {"ascending", match.ascending},
                    {"total_cost", match.total_cost},
                    {"exactly_equal_rows", std::move(exact)}};
  result.tensors = {of_ids("retained", retained), of_ids("deleted", match.deleted),
                    of_doubles("cost", costs), of_doubles("margin", margins),
                    of_doubles("exchange_margin", exchange)};
  return {};
}

Status reap_op(const Json& params, std::span<const NamedTensor> tensors, TensorOpResult& result) {
  MM2_ASSIGN_OR_RETURN(const ReapOptions options, read_reap(params));
  MM2_ASSIGN_OR_RETURN(const auto layer, read_layer(tensors, options.top_k));
  LayerSaliency stats(layer->weights.n_experts);
  MM2_RETURN_IF_ERROR(observe_layer(layer->weights, layer->tokens, stats));
  for (const char* name : {"reap", "frequency", "ean_sum", "ean_mean", "weighted_ean_sum",
                           "weighted_frequency_sum", "reap_l2", "max_activations"}) {
    result.tensors.push_back(of_doubles(name, stats.saliency(*saliency_method(name))));
  }
  const int32_t n_removed = options.n_removed >= 0
                                ? options.n_removed
                                : n_removed_of_ratio(stats.n_experts(), options.ratio);
  MM2_ASSIGN_OR_RETURN(const ExpertChoice choice,
                       choose_experts(stats.saliency(*saliency_method(options.method)), n_removed,
                                      options.top_k, options.protect));
  const RemovedShare share = removed_share(stats, choice.removed);
  result.figures = {
      {"tokens", stats.n_tokens()},
      {"method", options.method},
      {"kept", choice.kept},
      {"removed", choice.removed},
      {"removed_share",
       {{"saliency", share.saliency}, {"weight", share.weight}, {"tokens", share.tokens}}}};
  return {};
}

}  // namespace mm2
