#include "kernels/ref/numbers.h"
#include "kernels/ref/ops.h"

namespace mm2::kernels::ref {

template <typename Real>
void multiply_row(const Matrix& w, const Real* x, int32_t activations, Real* y) {
  for (int64_t o = 0; o < w.n_out; ++o) {
    Real sum = 0;
    for (int64_t i = 0; i < w.n_in; ++i) {
      sum += load<Real>(w.data, w.number, o * w.n_in + i) * enter(x[i], activations);
    }
    y[o] = sum;
  }
}

template <typename Real>
void linear(const Executor*, const LinearArgs<Real>* args) {
  const Matrix& w = *args->w;
  Real* product = static_cast<Real*>(args->scratch);  // [n_out]
  for (int64_t t = 0; t < args->n_tokens; ++t) {
    multiply_row(w, args->x + t * w.n_in, args->activations, product);
    for (int64_t o = 0; o < w.n_out; ++o) {
      const Real add = args->add != nullptr ? args->add[t * w.n_out + o] : Real{0};
      args->y[t * w.n_out + o] = add + product[o];
    }
  }
}

template <typename Real>
void embed(const Executor*, const EmbedArgs<Real>* args) {
  const Matrix& table = *args->table;
  for (int64_t t = 0; t < args->n_tokens; ++t) {
    const int64_t row = args->tokens[t];
    for (int64_t i = 0; i < table.n_in; ++i) {
      args->y[t * table.n_in + i] = load<Real>(table.data, table.number, row * table.n_in + i);
    }
  }
}

template void multiply_row<float>(const Matrix&, const float*, int32_t, float*);
template void multiply_row<double>(const Matrix&, const double*, int32_t, double*);
template void linear<float>(const Executor*, const LinearArgs<float>*);
template void linear<double>(const Executor*, const LinearArgs<double>*);
template void embed<float>(const Executor*, const EmbedArgs<float>*);
template void embed<double>(const Executor*, const EmbedArgs<double>*);

}  // namespace mm2::kernels::ref
