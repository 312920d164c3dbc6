#include <algorithm>

#include "kernels/api/default_step.h"
#include "kernels/api/numbers.h"
#include "kernels/ref/ref.h"

namespace mm2::kernels {
namespace {

int64_t packed_bytes(int32_t scheme, int32_t number, int64_t n_out, int64_t n_in) {
  if (scheme != kPlain) return -1;
  if (number != kF32 && number != kBF16 && number != kF16) return -1;
  if (n_out < 0 || n_in < 0 || (n_in > 0 && n_out > INT64_MAX / 4 / n_in)) return -1;
  return n_out * n_in * bytes_of(number);
}

void pack(const MatrixRows* rows, void* packed) {
  const int64_t row_bytes = rows->n_in * bytes_of(rows->number);
  memcpy(static_cast<char*>(packed) + rows->first_row * row_bytes, rows->codes,
         static_cast<size_t>(rows->n_rows * row_bytes));
}

int64_t kv_block_bytes(const ModelShape* s, int32_t block_size, int32_t number) {
  return 2 * int64_t{s->n_kv_heads} * s->head_dim * block_size * bytes_of(number);
}

template <typename Real>
int64_t scratch_bytes(const ModelShape* s, int32_t max_tokens, int32_t n_workers) {
  const int64_t widest = std::max<int64_t>(
      {s->hidden, int64_t{s->n_heads} * s->head_dim, s->intermediate, s->n_experts});
  const int64_t in_experts = n_workers * (int64_t{s->intermediate} + 2 * int64_t{s->hidden});
  return std::max(max_tokens * widest, in_experts) * int64_t{sizeof(Real)};
}

template <typename Real>
constexpr Ops<Real> kOps = {scratch_bytes<Real>,  ref::embed<Real>,      ref::rms_norm<Real>,
                            ref::linear<Real>,    ref::rope_table<Real>, ref::qkv<Real>,
                            ref::attention<Real>, ref::router<Real>,     ref::experts<Real>};

template <typename Real>
int64_t step_scratch_bytes(const ModelShape* s, int32_t max_tokens, int32_t max_outputs,
                           int32_t n_workers) {
  return default_scratch_bytes(kOps<Real>, *s, max_tokens, max_outputs, n_workers);
}

template <typename Real>
int32_t step(const StepPlan* plan) {
  return default_step(kOps<Real>, *plan);
}

}  // namespace

const Backend* reference_backend() {
  static constexpr Backend kBackend = {
      "reference", kF32,        packed_bytes,   pack,
      1,           true,        kv_block_bytes, step_scratch_bytes<float>,
      step<float>, &kOps<float>};
  return &kBackend;
}

const Backend* reference_f64_backend() {
  static constexpr Backend kBackend = {"reference_f64",
                                       kF64,
                                       packed_bytes,
                                       pack,
                                       1,
                                       true,
                                       kv_block_bytes,
                                       step_scratch_bytes<double>,
                                       step<double>,
                                       nullptr};
  return &kBackend;
}

}  // namespace mm2::kernels
