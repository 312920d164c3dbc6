// Products of 9 and more tokens with packed weights, and the experts of a layer. Bits: product.h, the same
// as those of steps of a few tokens.
//
// Functions start kernels in the stream and return what the launch returned.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/common/product.h"
#include "kernels/cuda/decode/step_input.h"
#include "kernels/cuda/gemm/tiles.h"

namespace mm2::kernels::cuda {

/// Shapes and pointers of one product, as its kernel takes them.
struct GemmArgs {
  Records records;
  int32_t n_records;
  int64_t block_bytes;
  int32_t n_blocks, n_units;  // of 64 rows; of pairs of them
  int32_t piece_records, n_pieces;
  int32_t
      splits;  // 1: an item is one piece, the sums of each go to `y` apart: [n_pieces, n_slots, n_out]
  int64_t n_out;
  // Weights: of the one matrix, or of each expert; up only where gate and up are multiplied at once.
  WeightView one;
  const DeviceExpert* experts;  // [n_experts], null = one
  const uint8_t* x;             // tiles
  // Experts: written by the kernels that sort tokens.
  const int32_t* n_tiles_at;   // null = n_tiles
  const int32_t* tile_expert;  // [n_tiles]
  const int32_t* slots;        // [n_tiles, width] row of y for each token of a tile, -1 = none
  int32_t n_tiles, n_slots;
  const float* add;  // [n_slots, y_stride] or null
  float* y;          // [n_slots, y_stride]
  int64_t y_stride;  // n_out where it splits
  uint8_t* inner;    // tiles of silu(gate) * up, n_inner_records of each
  int32_t n_inner_records;
  GemmShared shared;
};

/// Starts the product for tokens `width` at a time; gate and up at once where `gated`. For each Product one
/// source has these kernels. n_thread_blocks: as many as the device runs at once; changes no bits.
template <typename P>
cudaError_t start_gemm(int32_t width, bool gated, int32_t n_thread_blocks, cudaStream_t stream,
                       const GemmArgs& args);
/// Once for each device: shared memory beyond what a kernel gets unasked.
template <typename P>
cudaError_t allow_gemm();

/// Tokens' activations (F32, [n_tokens, n_in]) into tiles.
cudaError_t pack_tokens(const float* x, int32_t n_tokens, int64_t n_in, int32_t width,
                        uint8_t* tiles, cudaStream_t stream);

/// y[n_tokens, n_out] = x w^T (+ add), rows y_stride apart.
struct DenseProduct {
  WeightLayout layout;
  WeightView w;
  Cut cut;
  const uint8_t* x;  // tiles of dense_width(..)
  int32_t n_tokens;
  const float* add;
  float* y;
  int64_t y_stride;
  float* partials;  // dense_partial_bytes(..)
};
MM2_HD static inline int32_t dense_width(int32_t n_tokens) {
  return width_for(n_tokens, 1);
}
/// n_processors: of the device. 0 where pieces are not shared out.
int64_t dense_partial_bytes(const WeightLayout& l, const Cut& cut, int32_t n_tokens,
                            int32_t n_processors);
/// Kernels that dense_product starts.
int32_t dense_launches(const WeightLayout& l, const Cut& cut, int32_t n_tokens,
                       int32_t n_processors);
cudaError_t dense_product(const DenseProduct& p, int32_t n_processors, cudaStream_t stream);

/// h += the chosen experts' share of down(silu(gate x) * (up x)), ids ascending.
struct ExpertsProduct {
  WeightLayout gate, down;  // of gate and up, of every expert
  Cut gate_cut, down_cut;
  const DeviceExpert* experts;  // [n_experts]
  int32_t n_experts, top_k, n_tokens;
  int64_t hidden, intermediate;
  const float* x;        // [n_tokens, hidden]
  const int32_t* ids;    // [n_tokens, top_k], ascending
  const float* weights;  // [n_tokens, top_k]
  float* h;              // [n_tokens, hidden]
  uint8_t* scratch;      // experts_scratch_bytes(..), 256-byte aligned
};
/// Monotone in n_tokens.
int64_t experts_scratch_bytes(int64_t n_tokens, int64_t top_k, int64_t n_experts, int64_t hidden,
                              int64_t intermediate);
/// Kernels that experts_product starts.
int64_t experts_launches(int64_t n_tokens);
cudaError_t experts_product(const ExpertsProduct& p, int32_t n_processors, cudaStream_t stream);

/// Once for each device and format.
cudaError_t allow_products(const Decoded& d);

}  // namespace mm2::kernels::cuda
