// The router and the experts of one layer in F64, from their definition: what saliencies are defined
// by.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "tools/experts/saliency.h"

namespace mm2 {

/// Picks the top_k experts of largest sigmoid(logit) + bias (equal ones: the smaller id first) and
/// weighs each by its sigmoid over the sum of those picked: the bias selects and never weighs.
/// Code::numeric on NaN.
Status route_token(std::span<const double> logits,  // [n_experts]
                   std::span<const float> bias,     // [n_experts]
                   std::span<int32_t> experts,      // [top_k] out
                   std::span<double> weights);      // [top_k] out

/// Weights of one mixture-of-experts layer.
struct MoeWeights {
  int32_t n_experts = 0, top_k = 0, hidden = 0, intermediate = 0;
  std::span<const float> router;  // [n_experts, hidden]
  std::span<const float> bias;    // [n_experts]
  std::span<const float> w1;      // [n_experts, intermediate, hidden]
  std::span<const float> w3;      // [n_experts, intermediate, hidden]
  std::span<const float> w2;      // [n_experts, hidden, intermediate]
};

/// Routes the tokens, runs the experts that each was sent to, and adds them to `stats`.
Status observe_layer(const MoeWeights& layer,
                     std::span<const float> tokens,  // [n_tokens, hidden]
                     LayerSaliency& stats);

}  // namespace mm2
