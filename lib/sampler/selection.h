// Which tokens stay in the running, and the draw among them. Everything here is linear in the
// number of tokens but for sorting the few that are kept.
//
// "Rank" orders tokens by falling logit, equal ones by rising id.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mm2 {

struct Candidate {
  float x;  // logit
  int32_t id;
  double weight;  // exp((x - greatest) / temperature)
};

struct Filters {
  double temperature = 1;  // positive
  int32_t top_k = 0;       // 0 = off
  double top_p = 1;        // 1 = off
  double min_p = 0;        // 0 = off
};

/// The k best of logits [n] in rank order, -infinity left out, into `best`.
void best_k(std::span<const float> logits, int32_t k, std::vector<Candidate>& best);

/// log(sum of exp(x / temperature)); greatest is the greatest of logits [n] and is finite.
double log_sum_exp(std::span<const float> logits, float greatest, double temperature);

/// The token at u in [0, 1) of the filtered distribution over logits [n]: among the tokens kept, by
/// rising id, the first at which the running sum of weights exceeds u times their sum. No logit is
/// NaN or +infinity, greatest is the greatest and is finite. `scratch` is only memory.
int32_t draw(std::span<const float> logits, float greatest, const Filters& filters, double u,
             std::vector<Candidate>& scratch);

}  // namespace mm2
