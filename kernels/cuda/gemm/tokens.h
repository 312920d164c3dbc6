// What happens to tokens around the products: which tile they go to, their activations on the way there,
// sums on the way back.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/decode/step_input.h"
#include "kernels/cuda/gemm/tiles.h"

namespace mm2::kernels::cuda {

/// Tokens sorted by expert. Pair t * top_k + i is choice i of token t.
struct SortedPairs {
  int32_t* counts;       // [n_experts] pairs of each
  int32_t* n_tiles;      // one
  int32_t* tile_expert;  // [most_tiles], ascending
  int32_t* slots;        // [most_tiles, width] the pair of each row of a tile, ascending; -1 = none
};
cudaError_t sort_pairs(const int32_t* ids, int32_t n_pairs, int32_t n_experts, int32_t width,
                       const SortedPairs& to, cudaStream_t stream);

/// Activations of tokens (F32, [.., n_in]) into tiles. slots: row `slot / top_k` for each row of a tile,
/// null = tokens in their order; n_tiles: at most, n_tiles_at: how many, or null.
struct Gather {
  const float* x;
  int64_t n_in;
  int32_t width, n_tokens, top_k;
  const int32_t *slots, *n_tiles_at;
  int64_t n_tiles;
  uint8_t* tiles;
};
cudaError_t gather_tokens(const Gather& g, cudaStream_t stream);

/// h += sum over i, ascending, of weights[t, i] * down[t * top_k + i].
cudaError_t add_experts(const float* down, const float* weights, int32_t n_tokens, int32_t top_k,
                        int64_t hidden, float* h, cudaStream_t stream);

/// y = sum of pieces, ascending, times the scale of w (+ add).
struct Pieces {
  const float* partials;  // [n_pieces, n_tokens, n_out]
  int32_t n_pieces, n_tokens;
  int64_t n_out, y_stride;
  WeightView w;
  const float* add;  // [n_tokens, y_stride] or null
  float* y;          // [n_tokens, y_stride]
};
cudaError_t add_pieces(const Pieces& p, cudaStream_t stream);

}  // namespace mm2::kernels::cuda
