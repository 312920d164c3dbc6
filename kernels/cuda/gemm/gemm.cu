#include "kernels/cuda/gemm/gemm.h"

#include "kernels/cuda/gemm/tokens.h"

namespace mm2::kernels::cuda {
namespace {

GemmArgs args_of(const WeightLayout& l, const Cut& cut, int32_t width) {
  GemmArgs a{};
  a.records = records_of(l);
  a.n_records = static_cast<int32_t>(l.n_records);
  a.block_bytes = l.block_bytes;
  a.n_blocks = static_cast<int32_t>(l.n_blocks);
  a.n_units = (a.n_blocks + 1) / 2;
  a.piece_records = cut.piece_records;
  a.n_pieces = cut.n_pieces;
  a.n_out = l.n_out;
  a.y_stride = l.n_out;
  a.shared = gemm_shared(width, l.record_bytes);
  return a;
}

/// No more blocks of threads than there can be items.
int32_t thread_blocks(const GemmArgs& a, int64_t n_tiles, int32_t n_processors) {
  const int64_t n = n_tiles * a.n_units * (a.splits != 0 ? a.n_pieces : 1);
  return static_cast<int32_t>(n < n_processors ? n : n_processors);
}

cudaError_t start(const Decoded& d, int32_t width, bool gated, int32_t n_thread_blocks,
                  cudaStream_t stream, const GemmArgs& a) {
  cudaError_t error = cudaErrorInvalidValue;
  with_product(d, [&](auto product) {
    error = start_gemm<decltype(product)>(width, gated, n_thread_blocks, stream, a);
  });
  return error;
}

bool splits(const WeightLayout& l, const Cut& cut, int32_t n_tokens, int32_t n_processors) {
  const int64_t n_tiles = divide_up(n_tokens, dense_width(n_tokens));
  return splits_pieces(divide_up(l.n_blocks, 2), n_tiles, cut.n_pieces, n_processors);
}

/// Tokens of a layer's experts at once: what lies between the products is kept for so many.
constexpr int64_t kMostExpertTokens = 4096;

/// Parts of the scratch of experts_product.
struct ExpertsScratch {
  SortedPairs pairs;
  uint8_t *x, *inner;
  float* down;
  int64_t bytes;
};

ExpertsScratch scratch_of(int64_t n_tokens, int64_t top_k, int64_t n_experts, int64_t hidden,
                          int64_t intermediate, uint8_t* base) {
  ExpertsScratch s{};
  const auto take = [&](int64_t n_bytes) {
    uint8_t* at = base == nullptr ? nullptr : base + s.bytes;
    s.bytes += round_up(n_bytes, 256);
    return at;
  };
  const int64_t n_pairs = n_tokens * top_k;
  const int32_t width = width_for(n_pairs, n_experts);
  // Rows, not tiles: they grow with n_tokens whatever the width.
  const int64_t touched = n_pairs < n_experts ? n_pairs : n_experts;
  const int64_t rows = n_pairs + touched * (width - 1);
  s.pairs.counts = reinterpret_cast<int32_t*>(take(n_experts * 4));
  s.pairs.n_tiles = reinterpret_cast<int32_t*>(take(4));
  s.pairs.tile_expert = reinterpret_cast<int32_t*>(take(rows / kWidths[0] * 4 + 4));
  s.pairs.slots = reinterpret_cast<int32_t*>(take(rows * 4));
  s.x = take(rows * round_up(hidden, kRecordCols) * 2);
  s.inner = take(rows * round_up(intermediate, kRecordCols) * 2);
  s.down = reinterpret_cast<float*>(take(n_pairs * hidden * 4));
  return s;
}

cudaError_t some_experts(const ExpertsProduct& p, int32_t n_processors, cudaStream_t stream) {
  const ExpertsScratch s =
      scratch_of(p.n_tokens, p.top_k, p.n_experts, p.hidden, p.intermediate, p.scratch);
  const int32_t n_pairs = p.n_tokens * p.top_k;
  const int32_t width = width_for(n_pairs, p.n_experts);
  const int64_t n_tiles = most_tiles(n_pairs, p.n_experts, width);
  cudaError_t error = sort_pairs(p.ids, n_pairs, p.n_experts, width, s.pairs, stream);
  if (error != cudaSuccess) return error;
  const Gather gather{p.x,           p.hidden,        width,   p.n_tokens, p.top_k,
                      s.pairs.slots, s.pairs.n_tiles, n_tiles, s.x};
  error = gather_tokens(gather, stream);
  if (error != cudaSuccess) return error;

  GemmArgs a = args_of(p.gate, p.gate_cut, width);
  a.n_units = a.n_blocks;
  a.experts = p.experts;
  a.x = s.x;
  a.n_tiles_at = s.pairs.n_tiles;
  a.tile_expert = s.pairs.tile_expert;
  a.slots = s.pairs.slots;
  a.n_slots = n_pairs;
  a.inner = s.inner;
  a.n_inner_records = static_cast<int32_t>(p.down.n_records);
  error = start(decoded(p.gate), width, true, thread_blocks(a, n_tiles, n_processors), stream, a);
  if (error != cudaSuccess) return error;

  GemmArgs d = args_of(p.down, p.down_cut, width);
  d.experts = p.experts;
  d.x = s.inner;
  d.n_tiles_at = s.pairs.n_tiles;
  d.tile_expert = s.pairs.tile_expert;
  d.slots = s.pairs.slots;
  d.n_slots = n_pairs;
  d.y = s.down;
  error = start(decoded(p.down), width, false, thread_blocks(d, n_tiles, n_processors), stream, d);
  if (error != cudaSuccess) return error;
  return add_experts(s.down, p.weights, p.n_tokens, p.top_k, p.hidden, p.h, stream);
}

}  // namespace

cudaError_t pack_tokens(const float* x, int32_t n_tokens, int64_t n_in, int32_t width,
                        uint8_t* tiles, cudaStream_t stream) {
  const Gather gather{x,    n_in, width, n_tokens, 1, nullptr, nullptr, divide_up(n_tokens, width),
                      tiles};
  return gather_tokens(gather, stream);
}

int64_t dense_partial_bytes(const WeightLayout& l, const Cut& cut, int32_t n_tokens,
                            int32_t n_processors) {
  if (!splits(l, cut, n_tokens, n_processors)) return 0;
  return int64_t{cut.n_pieces} * n_tokens * l.n_out * 4;
}

int32_t dense_launches(const WeightLayout& l, const Cut& cut, int32_t n_tokens,
                       int32_t n_processors) {
  return splits(l, cut, n_tokens, n_processors) ? 2 : 1;  // pieces are added by a kernel of its own
}

cudaError_t dense_product(const DenseProduct& p, int32_t n_processors, cudaStream_t stream) {
  const int32_t width = dense_width(p.n_tokens);
  GemmArgs a = args_of(p.layout, p.cut, width);
  a.one = p.w;
  a.x = p.x;
  a.n_tiles = static_cast<int32_t>(divide_up(p.n_tokens, width));
  a.n_slots = p.n_tokens;
  a.splits = splits(p.layout, p.cut, p.n_tokens, n_processors) ? 1 : 0;
  a.add = p.add;
  a.y = a.splits != 0 ? p.partials : p.y;
  if (a.splits == 0) a.y_stride = p.y_stride;
  const cudaError_t error =
      start(decoded(p.layout), width, false, thread_blocks(a, a.n_tiles, n_processors), stream, a);
  if (error != cudaSuccess || a.splits == 0) return error;
  return add_pieces(
      {p.partials, p.cut.n_pieces, p.n_tokens, p.layout.n_out, p.y_stride, p.w, p.add, p.y},
      stream);
}

int64_t experts_scratch_bytes(int64_t n_tokens, int64_t top_k, int64_t n_experts, int64_t hidden,
                              int64_t intermediate) {
  const int64_t n = n_tokens < kMostExpertTokens ? n_tokens : kMostExpertTokens;
  return scratch_of(n, top_k, n_experts, hidden, intermediate, nullptr).bytes;
}

int64_t experts_launches(int64_t n_tokens) {
  // Counts, places, gathered rows, gate and up, down, shares added.
  return 6 * divide_up(n_tokens, kMostExpertTokens);
}

cudaError_t experts_product(const ExpertsProduct& p, int32_t n_processors, cudaStream_t stream) {
  for (int64_t t = 0; t < p.n_tokens; t += kMostExpertTokens) {
    ExpertsProduct some = p;
    some.x += t * p.hidden;
    some.ids += t * p.top_k;
    some.weights += t * p.top_k;
    some.h += t * p.hidden;
    const int64_t left = p.n_tokens - t;
    some.n_tokens = static_cast<int32_t>(left < kMostExpertTokens ? left : kMostExpertTokens);
    const cudaError_t error = some_experts(some, n_processors, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t allow_products(const Decoded& d) {
  cudaError_t error = cudaErrorInvalidValue;
  with_product(d, [&](auto product) { error = allow_gemm<decltype(product)>(); });
  return error;
}

}  // namespace mm2::kernels::cuda
