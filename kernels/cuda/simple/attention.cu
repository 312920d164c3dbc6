#include "kernels/api/math.h"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/simple/product.h"
#include "kernels/cuda/simple/simple.h"

namespace mm2::kernels::cuda::simple {
namespace {

constexpr int64_t kChunk = 512;  // positions after which sums begin anew
constexpr unsigned kLanes = 64;  // threads, and positions whose scores are there at a time
static_assert(kLanes == kAttentionBlock);
constexpr float kLowestScore = -3.4e38f;

struct AttentionKernelArgs {
  ModelShape shape;
  const float* q;
  const DeviceRow* rows;
  const int32_t *token_rows, *positions;
  DeviceKv kv;
  int32_t layer;
  bool exact;            // products need no rounding
  uint32_t round, keep;  // of weights
  double factor;         // of scores, before the scale of the keys
  float* y;
};

/// Sums of one query over some positions, in shared memory but for `greatest`, which every thread
/// has.
struct Sums {
  float* values;  // [head_dim]
  float* totals;  // [16]
  float greatest;
};

/// One query: what all of its threads know.
struct Query {
  const AttentionKernelArgs& a;
  int32_t kv_head;
  int64_t position;
  const int32_t* blocks;
  const char* base;  // of the layer
  float factor;
  const float* q;  // [head_dim] as it enters products
  float* scores;   // [kLanes]
  float* weights;  // [kLanes]

  __device__ const char* key(int64_t p) const {
    const KvLayout& l = a.kv.layout;
    const int64_t block = blocks[p / l.block_size];
    return base + block * a.kv.block_stride + key_place(l, kv_head, p % l.block_size);
  }
};

__device__ float score_of(const Query& query, int64_t p) {
  const char* key = query.key(p);
  const int32_t n = query.a.shape.head_dim, number = query.a.kv.layout.number;
  float sum = 0.0f;
  for (int32_t d = 0; d < n; d += 2) {
    if (d + 1 < n) sum += query.q[d + 1] * kv_number_at(number, key, d + 1);
    sum += query.q[d] * kv_number_at(number, key, d);
  }
  return sum * query.factor;
}

// One component of the values of n positions from `start` on.
__device__ float add_values(const Query& query, int64_t start, int32_t n, int32_t d, float sum) {
  const int32_t number = query.a.kv.layout.number;
  const int64_t half = query.a.kv.layout.half_bytes;
  for (int32_t p = 0; p < n; p += 2) {
    if (p + 1 < n) {
      sum += query.weights[p + 1] * kv_number_at(number, query.key(start + p + 1) + half, d);
    }
    sum += query.weights[p] * kv_number_at(number, query.key(start + p) + half, d);
  }
  return sum;
}

// n positions from `start` on, at most kLanes, a thread for each.
__device__ void add_positions(const Query& query, int64_t start, int32_t n, Sums& to) {
  const auto lane = static_cast<int32_t>(threadIdx.x);
  if (lane < n) query.scores[lane] = score_of(query, start + lane);
  __syncthreads();
  float most = to.greatest;
  for (int32_t p = 0; p < n; ++p) most = query.scores[p] > most ? query.scores[p] : most;
  const float e = lane < n ? exp2_f32(query.scores[lane] - most) : 0.0f;
  query.weights[lane] = lane < n ? float_of((bits_of(e) + query.a.round) & query.a.keep) : 0.0f;
  const float fade = exp2_f32(to.greatest - most);
  __syncthreads();
  const float* weights = query.weights;
  if (lane < 16) {
    to.totals[lane] = to.totals[lane] * fade + weights[lane] + weights[lane + 16] +
                      weights[lane + 32] + weights[lane + 48];
  }
  for (int32_t d = lane; d < query.a.shape.head_dim; d += static_cast<int32_t>(kLanes)) {
    const float before = fade == 1.0f ? to.values[d] : to.values[d] * fade;
    to.values[d] = add_values(query, start, n, d, before);
  }
  to.greatest = most;
  __syncthreads();
}

__device__ void add_chunk(const Query& query, const Sums& from, Sums& to) {
  const float greatest = from.greatest > to.greatest ? from.greatest : to.greatest;
  const float fade = exp2_f32(to.greatest - greatest), part = exp2_f32(from.greatest - greatest);
  to.greatest = greatest;
  for (unsigned i = threadIdx.x; i < 16; i += kLanes) {
    to.totals[i] = to.totals[i] * fade + from.totals[i] * part;
  }
  for (int32_t d = static_cast<int32_t>(threadIdx.x); d < query.a.shape.head_dim;
       d += static_cast<int32_t>(kLanes)) {
    to.values[d] = to.values[d] * fade + from.values[d] * part;
  }
  __syncthreads();
}

__device__ void clear(const Query& query, Sums& sums) {
  sums.greatest = kLowestScore;
  for (unsigned i = threadIdx.x; i < 16; i += kLanes) sums.totals[i] = 0.0f;
  for (int32_t d = static_cast<int32_t>(threadIdx.x); d < query.a.shape.head_dim;
       d += static_cast<int32_t>(kLanes)) {
    sums.values[d] = 0.0f;
  }
  __syncthreads();
}

__device__ void add_positions_of_chunk(const Query& query, int64_t chunk, Sums& to) {
  clear(query, to);
  for (int64_t start = chunk; start < chunk + kChunk && start <= query.position; start += kLanes) {
    const int64_t left = query.position - start + 1;
    add_positions(query, start, static_cast<int32_t>(left < kLanes ? left : kLanes), to);
  }
}

__device__ void write_result(const Query& query, const Sums& sums, float scale, float* y) {
  float lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = sums.totals[i];
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  const float factor = scale / lanes[0];
  for (int32_t d = static_cast<int32_t>(threadIdx.x); d < query.a.shape.head_dim;
       d += static_cast<int32_t>(kLanes)) {
    y[d] = sums.values[d] * factor;
  }
}

// A block has one query: a head of a token.
__global__ void attention_kernel(AttentionKernelArgs a) {
  const ModelShape& s = a.shape;
  const int64_t t = blockIdx.x;
  const auto head = static_cast<int32_t>(blockIdx.y);
  const int32_t kv_head = head / (s.n_heads / s.n_kv_heads);
  const int32_t scale_at = a.layer * s.n_kv_heads + kv_head;
  const bool scales = a.kv.layout.number == kE4M3;
  const float k_scale = scales ? a.kv.k_scales[scale_at] : 1.0f;
  const float v_scale = scales ? a.kv.v_scales[scale_at] : 1.0f;

  float* q = shared_memory<float>();
  Sums all{q + s.head_dim, q + 3 * s.head_dim, kLowestScore};
  Sums part{q + 2 * s.head_dim, all.totals + 16, kLowestScore};
  float* scores = part.totals + 16;
  const Query query{a,
                    kv_head,
                    a.positions[t],
                    a.kv.blocks + a.rows[a.token_rows[t]].first_block,
                    a.kv.data + a.layer * a.kv.layer_stride,
                    static_cast<float>(a.factor * static_cast<double>(k_scale)),
                    q,
                    scores,
                    scores + kLanes};
  const int64_t offset = (t * s.n_heads + head) * s.head_dim;
  for (int32_t d = static_cast<int32_t>(threadIdx.x); d < s.head_dim;
       d += static_cast<int32_t>(kLanes)) {
    q[d] = entered(a.q[offset + d], a.exact ? int32_t{kBF16} : int32_t{kF32});
  }
  __syncthreads();
  add_positions_of_chunk(query, 0, all);
  for (int64_t chunk = kChunk; chunk <= query.position; chunk += kChunk) {
    add_positions_of_chunk(query, chunk, part);
    add_chunk(query, part, all);
  }
  write_result(query, all, v_scale, a.y + offset);
}

}  // namespace

cudaError_t attention(const DeviceStep& step, int32_t layer, float* y) {
  const ModelShape& s = step.shape();
  const int32_t number = step.kv.layout.number;
  const bool exact = step.activations == kBF16 && number != kF32;
  // A value has 8 bits, or 4: a weight of the others' 16, or 20, has exact products with it.
  const uint32_t keep = !exact ? ~0u : number == kBF16 ? ~0xFFu : ~0xFu;
  const AttentionKernelArgs args{s,
                                 step.buffers.q,
                                 step.rows,
                                 step.token_rows,
                                 step.positions,
                                 step.kv,
                                 layer,
                                 exact,
                                 (~keep + 1) / 2,
                                 keep,
                                 1.4426950408889634 / sqrt(static_cast<double>(s.head_dim)),
                                 y};
  const size_t floats = 3 * static_cast<size_t>(s.head_dim) + 2 * 16 + 2 * kLanes;
  const dim3 grid(static_cast<unsigned>(step.n_tokens), static_cast<unsigned>(s.n_heads));
  return launch(attention_kernel, {grid, kLanes, step.stream, floats * sizeof(float)}, args);
}

}  // namespace mm2::kernels::cuda::simple
