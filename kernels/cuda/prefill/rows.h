// What a step of many tokens does to whole rows: embedding, norms, router, how sequences ended. The bits
// are those of the kernels of kernels/cuda/decode, whose order of additions they keep.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/decode/small_steps.h"

namespace mm2::kernels::cuda {

constexpr int32_t kRouterTokens = 4;  // of a block of threads, a warp chooses for each

/// h = rows of the embedding, rope = cosines, then sines; BeginStep's half turns.
struct Rows {
  const int32_t *tokens, *positions;  // [n_tokens]
  const void* embedding;
  int32_t number, hidden, rotary_dim;
  double half_turns[kMostRotary / 2];
  float* h;
  float* rope;
};
cudaError_t begin_rows(const Rows& r, int32_t n_tokens, cudaStream_t stream);

/// y[i] = norm of h[rows[i]], or of h[i] where rows is null.
struct Norm {
  const float* h;       // [.., width]
  const int32_t* rows;  // [n_rows] or null
  const float* weight;  // [width]
  float eps;
  int32_t width;
  float* y;  // [n_rows, width]
};
cudaError_t norm_rows(const Norm& n, int32_t n_rows, cudaStream_t stream);

/// The choice of experts for x, which the norm made.
struct Choice {
  const float* x;  // [n_tokens, hidden]
  int32_t n_tokens, hidden, n_experts, top_k;
  const char* gate;  // packed, kF32
  int64_t gate_block_bytes;
  int32_t gate_row_bytes;
  const float* bias;  // [n_experts]
  int32_t* ids;       // [n_tokens, top_k], ascending
  float* weights;     // [n_tokens, top_k]
};
MM2_HD static inline int64_t choice_shared(int32_t hidden, int32_t n_experts) {
  return int64_t{kRouterTokens} * (hidden + n_experts * (kSmallThreads / 32 + 1)) * 4;
}
cudaError_t allow_choice(int32_t hidden, int32_t n_experts);
cudaError_t choose_experts(const Choice& c, cudaStream_t stream);

/// row_results[r]: whether all of h of the row's tokens is finite.
cudaError_t judge_rows(const float* h, int32_t hidden, const DeviceRow* rows, int32_t n_rows,
                       int32_t* row_results, cudaStream_t stream);

/// Rows of BF16 [n_tokens, n_in] into tiles (kernels/cuda/gemm/tiles.h).
cudaError_t pack_halves(const uint16_t* x, int32_t n_tokens, int64_t n_in, int32_t width,
                        uint8_t* tiles, cudaStream_t stream);

}  // namespace mm2::kernels::cuda
