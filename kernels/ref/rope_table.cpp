#include <cmath>

#include "kernels/ref/ref.h"

namespace mm2::kernels::ref {

// Angles in FP64 whatever Real is: at position 10^5 an angle in FP32 has lost 7 bits.
template <typename Real>
void rope_table(const Executor*, const RopeTableArgs<Real>* a) {
  const int32_t n = a->rotary_dim / 2;
  for (int64_t t = 0; t < a->n_tokens; ++t) {
    for (int32_t i = 0; i < n; ++i) {
      const double frequency = std::pow(a->theta, -2.0 * i / a->rotary_dim);
      const double angle = a->positions[t] * frequency;
      a->table[t * a->rotary_dim + i] = static_cast<Real>(std::cos(angle));
      a->table[t * a->rotary_dim + n + i] = static_cast<Real>(std::sin(angle));
    }
  }
}

template void rope_table(const Executor*, const RopeTableArgs<float>*);
template void rope_table(const Executor*, const RopeTableArgs<double>*);

}  // namespace mm2::kernels::ref
