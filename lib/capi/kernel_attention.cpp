// The experimental surface: the operations around a KV cache, over one that lives for the call.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/checked.h"
#include "capi/guard.h"
#include "capi/kernels.h"
#include "capi/structs.h"
#include "kernels/cpu/layout/kv.h"
#include "kernels/ref/kv_cache.h"

namespace mm2::capi {
namespace {

/// Keys and values of one sequence in one big block, as a backend keeps them.
struct Cache {
  Buffer memory;
  std::vector<float> scales;  // [2, n_kv_heads]: of K, then of V
  int32_t block = 0;
  kernels::KvCache kv{};
  kernels::StepRow row{};
};

void store(const Cache& cache, const kernels::ModelShape& s, bool reference, int64_t position,
           const float* k, const float* v) {
  if (!reference) {
    kernels::layout::store_position(cache.kv, s, cache.row, 0, position, k, v);
    return;
  }
  const auto slot = kernels::ref::kv_slot(cache.kv, s, cache.row, 0, position);
  for (int64_t i = 0; i < int64_t{s.n_kv_heads} * s.head_dim; ++i) {
    const int64_t head = i / s.head_dim;
    const float k_scale = kernels::ref::kv_scale(cache.kv, s, cache.kv.k_scales, 0, head);
    const float v_scale = kernels::ref::kv_scale(cache.kv, s, cache.kv.v_scales, 0, head);
    kernels::ref::store(slot.k, cache.kv.number, i, k[i] / k_scale);
    kernels::ref::store(slot.k, cache.kv.number, slot.v_offset + i, v[i] / v_scale);
  }
}

Status make_cache(const kernels::Backend& backend, const kernels::ModelShape& s,
                  const mm2x_heads& heads, int32_t number, int32_t n_positions, Cache* cache) {
  const int32_t block_size = round_up(n_positions, kernels::kAttentionBlock);
  const int64_t bytes = backend.kv_block_bytes(&s, block_size, number);
  MM2_ASSIGN_OR_RETURN(cache->memory,
                       Buffer::make(default_allocator(), static_cast<size_t>(bytes)));
  cache->scales.assign(2 * static_cast<size_t>(s.n_kv_heads), 1.0f);
  float* const scales = cache->scales.data();
  if (heads.k_scales != nullptr) std::copy_n(heads.k_scales, s.n_kv_heads, scales);
  if (heads.v_scales != nullptr) std::copy_n(heads.v_scales, s.n_kv_heads, scales + s.n_kv_heads);
  cache->kv = {cache->memory.data(), 0, bytes, block_size, number};
  cache->kv.k_scales = scales;
  cache->kv.v_scales = scales + s.n_kv_heads;
  cache->row = {0, 1, 0, 0, &cache->block};
  return {};
}

void fill_cache(const kernels::Backend& backend, const kernels::ModelShape& s, int32_t n_positions,
                const float* k, const float* v, Cache* cache) {
  const int64_t width = int64_t{s.n_kv_heads} * s.head_dim;
  for (int64_t p = 0; p < n_positions; ++p) {
    store(*cache, s, backend.keeps_file_layout, p, k + p * width, v + p * width);
  }
}

Status check_scales(const float* scales, int32_t n_kv_heads, int32_t number, const char* name) {
  if (scales == nullptr) return {};
  if (number != MM2X_E4M3)
    return error(Code::invalid_argument, name, ": only a cache of MM2X_E4M3 has scales");
  for (int32_t head = 0; head < n_kv_heads; ++head) {
    if (std::isfinite(scales[head]) && scales[head] > 0) continue;
    return error(Code::invalid_argument, name, "[", head, "] is ", scales[head],
                 ", a finite number above 0 is needed");
  }
  return {};
}

Status check_heads(const mm2x_heads& h, int32_t number) {
  MM2_RETURN_IF_ERROR(need_range("n_kv_heads", h.n_kv_heads, 1, 1 << 12));
  MM2_RETURN_IF_ERROR(need_range("n_heads", h.n_heads, 1, 1 << 12));
  MM2_RETURN_IF_ERROR(need_range("head_dim", h.head_dim, 1, 1 << 12));
  if (h.n_heads % h.n_kv_heads != 0)
    return error(Code::invalid_argument, "n_heads is ", h.n_heads, ", no multiple of n_kv_heads, ",
                 h.n_kv_heads);
  if (number != MM2X_F32 && number != MM2X_BF16 && number != MM2X_E4M3)
    return error(Code::invalid_argument, "number is ", number,
                 ", allowed are MM2X_F32, MM2X_BF16 and MM2X_E4M3");
  MM2_RETURN_IF_ERROR(check_scales(h.k_scales, h.n_kv_heads, number, "heads.k_scales"));
  return check_scales(h.v_scales, h.n_kv_heads, number, "heads.v_scales");
}

void set_heads(const mm2x_heads& heads, kernels::ModelShape* shape) {
  shape->n_heads = heads.n_heads;
  shape->n_kv_heads = heads.n_kv_heads;
  shape->head_dim = heads.head_dim;
  shape->rotary_dim = heads.rotary_dim;
  shape->rms_norm_eps = heads.eps;
}

Status check_qkv_matrices(const mm2x_kernels& kernels, const mm2x_heads& heads,
                          const mm2x_matrix* q, const mm2x_matrix* k, const mm2x_matrix* v) {
  MM2_RETURN_IF_ERROR(need_matrix(kernels, q, "q"));
  MM2_RETURN_IF_ERROR(need_matrix(kernels, k, "k"));
  MM2_RETURN_IF_ERROR(need_matrix(kernels, v, "v"));
  const int64_t hidden = q->matrix.n_in, kv_width = int64_t{heads.n_kv_heads} * heads.head_dim;
  MM2_RETURN_IF_ERROR(need_range("n_in of q", hidden, 1, kMostWidth));
  MM2_RETURN_IF_ERROR(check_matrix_shape(*q, int64_t{heads.n_heads} * heads.head_dim, hidden, "q"));
  MM2_RETURN_IF_ERROR(check_matrix_shape(*k, kv_width, hidden, "k"));
  MM2_RETURN_IF_ERROR(check_matrix_shape(*v, kv_width, hidden, "v"));
  MM2_RETURN_IF_ERROR(need_range("heads.rotary_dim", heads.rotary_dim, 2, heads.head_dim));
  if (heads.rotary_dim % 2 == 0 && heads.eps >= 0) return {};
  return error(Code::invalid_argument, "heads: rotary_dim is ", heads.rotary_dim, " and eps ",
               heads.eps, ": an even number and at least 0 are needed");
}

}  // namespace
}  // namespace mm2::capi

using namespace mm2::capi;  // NOLINT: this file is the border itself
namespace kernels = mm2::kernels;
using mm2::Status;

mm2_status mm2x_heads_init(mm2x_heads* heads, size_t size) {
  return init_struct(heads, size);
}

mm2_status mm2x_attention(mm2x_kernels* kernels, const float* q, const float* k, const float* v,
                          const mm2x_heads* heads, int32_t n_tokens, int32_t n_positions,
                          int32_t number, int32_t activations, float* y, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(kernels, "kernels"));
    MM2_RETURN_IF_ERROR(need(heads, "heads"));
    MM2_ASSIGN_OR_RETURN(const mm2x_heads given, read_struct(heads, "heads"));
    MM2_RETURN_IF_ERROR(check_heads(given, number));
    const int64_t q_width = int64_t{given.n_heads} * given.head_dim;
    const int64_t kv_width = int64_t{given.n_kv_heads} * given.head_dim;
    MM2_ASSIGN_OR_RETURN(int32_t entering, read_activations(activations));
    if (entering == kernels::kI8) entering = kernels::kBF16;  // there are no weights
    MM2_RETURN_IF_ERROR(need_range("n_positions", n_positions, 1, kMostTokens));
    MM2_RETURN_IF_ERROR(need_range("n_tokens", n_tokens, 1, n_positions));
    MM2_RETURN_IF_ERROR(need_floats(q, n_tokens, q_width, "q"));
    MM2_RETURN_IF_ERROR(need_floats(y, n_tokens, q_width, "y"));
    MM2_RETURN_IF_ERROR(need_floats(k, n_positions, kv_width, "k"));
    MM2_RETURN_IF_ERROR(need_floats(v, n_positions, kv_width, "v"));
    kernels::ModelShape shape = shape_of_width(1);
    set_heads(given, &shape);
    Cache cache;
    MM2_RETURN_IF_ERROR(make_cache(*kernels->backend, shape, given, number, n_positions, &cache));
    fill_cache(*kernels->backend, shape, n_positions, k, v, &cache);
    MM2_ASSIGN_OR_RETURN(void* scratch, scratch_for(kernels, shape, n_tokens));
    cache.row = {0, n_tokens, n_positions - n_tokens, 0, &cache.block};
    const kernels::Executor team = executor_of(*kernels);
    const kernels::AttentionArgs<float> args{&shape,   q,         &cache.row, 1, n_tokens,
                                             entering, &cache.kv, 0,          y, scratch};
    kernels->backend->ops->attention(&team, &args);
    return {};
  });
}

mm2_status mm2x_qkv(mm2x_kernels* kernels, const float* x, const mm2x_matrix* q,
                    const mm2x_matrix* k, const mm2x_matrix* v, const float* q_norm,
                    const float* k_norm, const float* rope, const mm2x_heads* heads,
                    int32_t n_tokens, int32_t activations, float* q_out, float* kv_out,
                    mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(kernels, "kernels"));
    MM2_RETURN_IF_ERROR(need(heads, "heads"));
    MM2_ASSIGN_OR_RETURN(const mm2x_heads given, read_struct(heads, "heads"));
    MM2_RETURN_IF_ERROR(check_heads(given, MM2X_F32));
    MM2_RETURN_IF_ERROR(check_qkv_matrices(*kernels, given, q, k, v));
    MM2_ASSIGN_OR_RETURN(const int32_t entering, read_activations(activations));
    MM2_RETURN_IF_ERROR(need(q_norm, "q_norm"));
    MM2_RETURN_IF_ERROR(need(k_norm, "k_norm"));
    MM2_RETURN_IF_ERROR(need_range("n_tokens", n_tokens, 1, kMostTokens));
    MM2_RETURN_IF_ERROR(need_floats(rope, n_tokens, given.rotary_dim, "rope"));
    MM2_RETURN_IF_ERROR(need_floats(x, n_tokens, q->matrix.n_in, "x"));
    MM2_RETURN_IF_ERROR(need_floats(q_out, n_tokens, q->matrix.n_out, "q_out"));
    MM2_RETURN_IF_ERROR(need_floats(kv_out, n_tokens, 2 * k->matrix.n_out, "kv_out"));
    kernels::ModelShape shape = shape_of_width(q->matrix.n_in);
    set_heads(given, &shape);
    Cache cache;
    MM2_RETURN_IF_ERROR(make_cache(*kernels->backend, shape, given, MM2X_F32, n_tokens, &cache));
    MM2_ASSIGN_OR_RETURN(void* scratch, scratch_for(kernels, shape, n_tokens));
    cache.row = {0, n_tokens, 0, 0, &cache.block};
    const kernels::Executor team = executor_of(*kernels);
    const kernels::QkvArgs<float> args{
        &shape, x,        &q->matrix, &k->matrix, &v->matrix, q_norm, k_norm, rope,   &cache.row,
        1,      n_tokens, entering,   &cache.kv,  0,          q_out,  kv_out, scratch};
    kernels->backend->ops->qkv(&team, &args);
    return {};
  });
}
