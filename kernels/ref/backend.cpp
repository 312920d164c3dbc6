#include <algorithm>

#include "kernels/api/default_step.h"
#include "kernels/api/numbers.h"
#include "kernels/ref/codes.h"
#include "kernels/ref/kv_cache.h"
#include "kernels/ref/ref.h"

namespace mm2::kernels {
namespace {

int64_t packed_bytes(const Format* format, int64_t n_out, int64_t n_in) {
  constexpr int64_t kMost = INT64_MAX / 64;  // of elements: codes, scales and order
  if (n_out < 0 || n_in < 0 || n_out > kMost || n_in > kMost) return -1;
  if (!is_format(*format, n_in)) return -1;
  if (n_in > 0 && n_out > kMost / n_in) return -1;
  if (is_plain(*format)) return n_out * n_in * bytes_of(format->number);
  return ref::code_matrix(*format, n_out, n_in, nullptr).bytes;
}

void pack(const MatrixRows* rows, void* packed) {
  const Format& f = rows->format;
  char* to = static_cast<char*>(packed);
  const int64_t row_bytes = rows->n_in * (is_plain(f) ? bytes_of(f.number) : 1);
  memcpy(to + rows->first_row * row_bytes, rows->codes,
         static_cast<size_t>(rows->n_rows * row_bytes));
  if (is_plain(f)) return;
  const ref::CodeMatrix m = ref::code_matrix(f, rows->n_out, rows->n_in, packed);
  const int64_t from = rows->first_row * m.patches, n = rows->n_rows * m.patches;
  memcpy(const_cast<float*>(m.scales) + from, rows->scales, static_cast<size_t>(n) * 4);
  if (f.zeros != 0) {
    memcpy(const_cast<uint8_t*>(m.zeros) + from, rows->zeros, static_cast<size_t>(n));
  }
  if (f.ordered != 0 && rows->first_row == 0) {
    memcpy(const_cast<int32_t*>(m.order), rows->order, static_cast<size_t>(rows->n_in) * 4);
  }
}

int64_t kv_block_bytes(const ModelShape* s, int32_t block_size, int32_t number) {
  return 2 * int64_t{s->n_kv_heads} * s->head_dim * block_size * bytes_of(number);
}

// Copies K, then V, of each layer of each position: as Backend::read_positions has them already.
template <typename Copy>
void each_layer(const KvCache& kv, const ModelShape& s, const StepRow& row, int64_t first,
                int64_t n, Copy copy) {
  const int64_t bytes = int64_t{s.n_kv_heads} * s.head_dim * bytes_of(kv.number);
  int64_t at = 0;
  for (int64_t position = first; position < first + n; ++position) {
    for (int32_t layer = 0; layer < s.n_layers; ++layer, at += 2 * bytes) {
      const ref::KvSlot slot = ref::kv_slot(kv, s, row, layer, position);
      char* k = static_cast<char*>(slot.k);
      copy(k, at, static_cast<size_t>(bytes));
      copy(k + slot.v_offset * bytes_of(kv.number), at + bytes, static_cast<size_t>(bytes));
    }
  }
}

void read_positions(const KvCache* kv, const ModelShape* s, const StepRow* row, int64_t first,
                    int64_t n, void* to) {
  each_layer(*kv, *s, *row, first, n, [to](const char* numbers, int64_t at, size_t size) {
    memcpy(static_cast<char*>(to) + at, numbers, size);
  });
}

void write_positions(const KvCache* kv, const ModelShape* s, const StepRow* row, int64_t first,
                     int64_t n, const void* from) {
  each_layer(*kv, *s, *row, first, n, [from](char* numbers, int64_t at, size_t size) {
    memcpy(numbers, static_cast<const char*>(from) + at, size);
  });
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
      "reference", kF32,         packed_bytes,   pack,
      1,           true,         kv_block_bytes, step_scratch_bytes<float>,
      step<float>, &kOps<float>, read_positions, write_positions};
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
                                       nullptr,
                                       read_positions,
                                       write_positions};
  return &kBackend;
}

}  // namespace mm2::kernels
