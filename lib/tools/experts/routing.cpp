#include "tools/experts/routing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace mm2 {

namespace {

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

double dot(const float* row, const double* vector, size_t n) {
  double sum = 0;
  for (size_t k = 0; k < n; ++k) sum += static_cast<double>(row[k]) * vector[k];
  return sum;
}

Status check(const MoeWeights& layer, std::span<const float> tokens) {
  const auto e = static_cast<size_t>(layer.n_experts), h = static_cast<size_t>(layer.hidden),
             m = static_cast<size_t>(layer.intermediate);
  if (layer.n_experts <= 0 || layer.hidden <= 0 || layer.intermediate <= 0 || layer.top_k <= 0 ||
      layer.top_k > layer.n_experts) {
    return error(Code::invalid_argument, "a layer of ", layer.n_experts, " experts (top ",
                 layer.top_k, "), hidden ", layer.hidden, ", intermediate ", layer.intermediate,
                 " cannot be");
  }
  if (layer.router.size() != e * h || layer.bias.size() != e || layer.w1.size() != e * m * h ||
      layer.w3.size() != e * m * h || layer.w2.size() != e * h * m || tokens.size() % h != 0) {
    return error(Code::invalid_argument, "the tensors of the layer do not fit ", layer.n_experts,
                 " experts, hidden ", layer.hidden, ", intermediate ", layer.intermediate);
  }
  return {};
}

struct OutputSize {
  double norm = 0;
  double largest = -std::numeric_limits<double>::infinity();  // element, with its sign
};

OutputSize expert_output(const MoeWeights& layer, int32_t expert, const double* token,
                         std::vector<double>& inner) {
  const auto h = static_cast<size_t>(layer.hidden), m = static_cast<size_t>(layer.intermediate);
  const size_t first = static_cast<size_t>(expert) * m * h;
  inner.resize(m);
  for (size_t i = 0; i < m; ++i) {
    const double gate = dot(&layer.w1[first + i * h], token, h);
    inner[i] = gate * sigmoid(gate) * dot(&layer.w3[first + i * h], token, h);
  }
  OutputSize size;
  double square = 0;
  for (size_t k = 0; k < h; ++k) {
    const double out = dot(&layer.w2[first + k * m], inner.data(), m);
    square += out * out;
    size.largest = std::max(size.largest, out);
  }
  size.norm = std::sqrt(square);
  return size;
}

}  // namespace

Status route_token(std::span<const double> logits, std::span<const float> bias,
                   std::span<int32_t> experts, std::span<double> weights) {
  const size_t n = logits.size(), k = experts.size();
  if (bias.size() != n || weights.size() != k || k == 0 || k > n) {
    return error(Code::invalid_argument, "routing: ", n, " logits, ", bias.size(), " biases, ", k,
                 " experts to pick and ", weights.size(), " weights do not fit");
  }
  std::vector<double> scores(n);
  for (size_t i = 0; i < n; ++i) {
    scores[i] = sigmoid(logits[i]) + static_cast<double>(bias[i]);
    if (std::isnan(scores[i])) {
      return error(Code::numeric, "routing: the score of expert ", i, " is NaN");
    }
  }
  std::vector<int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(k), order.end(),
                    [&](int32_t a, int32_t b) {
                      const double x = scores[static_cast<size_t>(a)];
                      const double y = scores[static_cast<size_t>(b)];
                      return x > y || (x == y && a < b);
                    });
  double sum = 0;
  for (size_t i = 0; i < k; ++i) {
    experts[i] = order[i];
    weights[i] = sigmoid(logits[static_cast<size_t>(order[i])]);
    sum += weights[i];
  }
  for (double& weight : weights) weight = sum > 0 ? weight / sum : 0;
  return {};
}

Status observe_layer(const MoeWeights& layer, std::span<const float> tokens, LayerSaliency& stats) {
  MM2_RETURN_IF_ERROR(check(layer, tokens));
  const auto h = static_cast<size_t>(layer.hidden), k = static_cast<size_t>(layer.top_k);
  std::vector<double> token(h), logits(static_cast<size_t>(layer.n_experts)), inner;
  std::vector<int32_t> experts(k);
  std::vector<double> weights(k), norms(k), largest(k);
  for (size_t t = 0; t < tokens.size() / h; ++t) {
    std::copy_n(&tokens[t * h], h, token.begin());
    for (size_t e = 0; e < logits.size(); ++e) {
      logits[e] = dot(&layer.router[e * h], token.data(), h);
    }
    MM2_RETURN_IF_ERROR(route_token(logits, layer.bias, experts, weights).in(join("token ", t)));
    for (size_t i = 0; i < k; ++i) {
      const OutputSize size = expert_output(layer, experts[i], token.data(), inner);
      norms[i] = size.norm;
      largest[i] = size.largest;
    }
    MM2_RETURN_IF_ERROR(stats.add_token(experts, weights, norms, largest).in(join("token ", t)));
  }
  return {};
}

}  // namespace mm2
