#include "kernels/ref/number.h"
#include "kernels/ref/ref.h"

namespace mm2::kernels::ref {

template <typename Real>
void embed(const Executor*, const EmbedArgs<Real>* a) {
  const int64_t hidden = a->table->n_in;
  for (int32_t t = 0; t < a->n_tokens; ++t) {
    for (int64_t i = 0; i < hidden; ++i) {
      a->y[t * hidden + i] =
          load<Real>(a->table->data, a->table->format.number, a->tokens[t] * hidden + i);
    }
  }
}

template void embed(const Executor*, const EmbedArgs<float>*);
template void embed(const Executor*, const EmbedArgs<double>*);

}  // namespace mm2::kernels::ref
