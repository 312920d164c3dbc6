// How a step of many tokens is put into tiles and groups for attention, and what it costs: all of it
// follows from the step's shape. The host's side.
#include <algorithm>

#include "kernels/cuda/gemm/gemm.h"
#include "kernels/cuda/prefill/attention.h"
#include "kernels/cuda/prefill/prefill.h"

namespace mm2::kernels::cuda {
namespace {

constexpr int32_t kTileOfKeys = 64;  // positions that are copied at once

/// Kernels of attention in each layer.
int64_t attention_launches(const DeviceStep& step) {
  TokenGroup group;
  int64_t n = 0;
  bool has_tiles = false;
  for (int32_t r = 0; r < step.n_rows; ++r) {
    const DeviceRow& row = step.host_rows[r];
    has_tiles |= row.n_tokens >= kLeastTileTokens;
    if (row.n_tokens >= kLeastTileTokens) continue;
    for (int32_t i = 0; i < row.n_tokens; ++i) n += group.begins(row.first_token + i) ? 1 : 0;
  }
  return n + (has_tiles ? 2 : 0);
}

}  // namespace

int32_t tiles_of_row(const DeviceRow& row, int32_t n_heads, int32_t n_kv_heads, QueryTile* to) {
  const int32_t most = tokens_of_tile(n_heads, n_kv_heads);
  int32_t n = 0;
  for (int32_t i = 0; i < row.n_tokens; i += most) {
    const int32_t left = row.n_tokens - i;
    to[n++] = {row.first_token + i, left < most ? left : most, row.first_position + i,
               row.first_block};
  }
  return n;
}

void sort_tiles(QueryTile* tiles, int32_t n) {
  std::sort(tiles, tiles + n, [](const QueryTile& a, const QueryTile& b) {
    return a.first_position + a.n_tokens > b.first_position + b.n_tokens;
  });
}

int64_t fast_launches(const DeviceStep& step) {
  const ModelShape& s = step.shape();
  const DecodeCuts cuts = cuts_of(s);
  const auto product = [&](const DeviceMatrix& m, const Cut& cut, int32_t n) {
    return dense_launches(m.layout, cut, n, step.limits.n_multiprocessors);
  };
  const int32_t n = step.n_tokens;
  // Rows of the embedding; in each layer norm, tiles, attention, tiles, norm, router, experts, and
  // the products.
  int64_t all = 1 + s.n_layers * (5 + attention_launches(step) + experts_launches(n));
  for (int32_t l = 0; l < s.n_layers; ++l) {
    const DeviceLayer& w = step.weights->layers[l];
    for (const DeviceMatrix* m : {&w.q, &w.k, &w.v}) all += product(*m, cuts.qkv, n);
    all += product(w.o, cuts.o, n);
  }
  ++all;  // how rows ended
  return step.n_outputs == 0 ? all
                             : all + 2 + product(step.weights->lm_head, cuts.head, step.n_outputs);
}

int64_t fast_kv_bytes(const DeviceStep& step) {
  const ModelShape& s = step.shape();
  const int64_t of_position = s.n_layers * kv_row_bytes(s, step.kv.layout.number);
  const int32_t most = tokens_of_tile(s.n_heads, s.n_kv_heads);
  int64_t n = 0;
  for (int32_t r = 0; r < step.n_rows; ++r) {
    const DeviceRow& row = step.host_rows[r];
    const bool in_tiles = !is_small(step) && row.n_tokens >= kLeastTileTokens;
    const int32_t each = in_tiles ? most : 1, whole = in_tiles ? kTileOfKeys : 1;
    for (int32_t i = 0; i < row.n_tokens; i += each) {
      const int32_t end = i + each < row.n_tokens ? i + each : row.n_tokens;
      n += round_up(row.first_position + end, whole);
    }
  }
  return n * of_position;
}

}  // namespace mm2::kernels::cuda
