// The reference backends: the specification in FP32, and the same in FP64 for golden comparisons (`--reference`).
#include "kernels/api/backend.h"

#include <string.h>

#include "kernels/api/default_step.h"
#include "kernels/ref/numbers.h"
#include "kernels/ref/ops.h"

namespace mm2::kernels {
namespace {

template <typename Real>
int64_t scratch_bytes(const ModelShape* shape, int32_t, int32_t) {
  const int64_t q_width = int64_t{shape->n_heads} * shape->head_dim;
  int64_t n = shape->n_vocab;
  const auto at_least = [&n](int64_t other) { n = other > n ? other : n; };
  at_least(q_width);
  at_least(shape->n_experts);
  at_least(2 * (int64_t{shape->intermediate} + shape->hidden));
  return n * static_cast<int64_t>(sizeof(Real));
}

template <typename Real>
constexpr Ops<Real> kOps = {scratch_bytes<Real>,  ref::embed<Real>,      ref::rms_norm<Real>,
                            ref::linear<Real>,    ref::rope_table<Real>, ref::qkv<Real>,
                            ref::attention<Real>, ref::router<Real>,     ref::experts<Real>};

int64_t packed_bytes(int32_t scheme, int32_t number, int64_t n_out, int64_t n_in) {
  if (scheme != kPlain || (number != kF32 && number != kBF16 && number != kF16)) return -1;
  return n_out * n_in * ref::number_bytes(number);
}

void pack(const MatrixRows* rows, void* packed) {
  const int64_t row_bytes = rows->n_in * ref::number_bytes(rows->number);
  memcpy(static_cast<char*>(packed) + rows->first_row * row_bytes, rows->codes,
         static_cast<size_t>(rows->n_rows * row_bytes));
}

int64_t kv_block_bytes(const ModelShape* shape, int32_t block_size, int32_t number) {
  return int64_t{shape->n_kv_heads} * 2 * block_size * shape->head_dim * ref::number_bytes(number);
}

template <typename Real>
int64_t step_scratch_bytes(const ModelShape* shape, int32_t max_tokens, int32_t max_outputs,
                           int32_t n_workers) {
  return default_scratch_bytes(kOps<Real>, *shape, max_tokens, max_outputs, n_workers);
}

template <typename Real>
int32_t step(const StepPlan* plan) {
  return default_step(kOps<Real>, *plan);
}

template <typename Real>
constexpr Backend make_backend(const char* name, int32_t real, const Ops<float>* ops) {
  return {name,       real, packed_bytes, pack, 1, true, kv_block_bytes, step_scratch_bytes<Real>,
          step<Real>, ops};
}

constexpr Backend kReference = make_backend<float>("reference", kF32, &kOps<float>);
constexpr Backend kReferenceF64 = make_backend<double>("reference_f64", kF64, nullptr);

}  // namespace

const Backend* reference_backend() {
  return &kReference;
}
const Backend* reference_f64_backend() {
  return &kReferenceF64;
}

}  // namespace mm2::kernels
