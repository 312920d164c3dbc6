#include "tools/merge/consensus.h"

#include <cmath>

#include "tools/merge/rounding.h"

namespace mm2 {

void Consensus::add(const float* base, float* const* differences, int64_t n_cols,
                    float* out) const {
  const size_t n = weights.size();
  for (int64_t i = 0; i < n_cols; ++i) {
    float all = 0, plain = 0;
    for (size_t k = 0; k < n; ++k) {
      plain += differences[k][i];
      differences[k][i] = rounded(weights[k] * differences[k][i], arithmetic);
      all += differences[k][i];
    }
    float mixed = all, divisor = 0;
    if (elects) {
      const float sign = rounded(elects_weighted ? all : plain, arithmetic) >= 0 ? 1.0f : -1.0f;
      mixed = 0;
      for (size_t k = 0; k < n; ++k) {
        if (differences[k][i] * sign <= 0) continue;
        mixed += differences[k][i];
        divisor += weights[k];
      }
    } else {
      for (size_t k = 0; k < n; ++k) divisor += weights[k];
    }
    mixed = rounded(mixed, arithmetic);
    divisor = rounded(divisor, arithmetic);
    if (std::abs(divisor) <= min_divisor) divisor = 1;
    if (normalize) mixed = rounded(mixed / divisor, arithmetic);
    if (lambda != 1) mixed = rounded(mixed * lambda, arithmetic);
    out[i] = rounded(base[i] + mixed, arithmetic);
  }
}

}  // namespace mm2
