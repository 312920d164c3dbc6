// (token, expert) pairs sorted by expert. Then five phases: rows of x are packed for each expert; gate
// and up; their results are packed; down; and the weighted sums of each token, experts ascending. The
// experts with the most tokens come first, so that the small ones fill up what is left of a phase.
#include "kernels/api/math.h"
#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/blocks.h"

namespace mm2::kernels::avx512 {
namespace {

/// Tokens that go through the phases together: more would only want more scratch.
constexpr int64_t kPassTokens = 1024;

struct Scratch {
  float* packed;        // [n_pairs, packed_row_size(hidden)] of x; later what down gives, by pair
  float* inner;         // [n_pairs, intermediate rounded up] silu(gate x) * (up x)
  float* packed_inner;  // [n_pairs, packed_row_size(intermediate)]
  float* rooms;         // [n_workers, room]
  int32_t* pairs;       // [n_pairs] indices into ids, by expert, then by token
  int32_t* first;       // [n_experts + 1] of each expert's pairs
  int32_t* active;      // [n_experts] experts with at least one pair, those with the most first
  int64_t room, bytes;
};

/// Floats, cut off one after the other; from null it only counts.
struct Cut {
  float* base;
  int64_t n = 0;
};
inline float* cut(Cut* from, int64_t n) {
  float* here = from->base == nullptr ? nullptr : from->base + from->n;
  from->n += layout::round_up(n, 16);
  return here;
}

// Rows of an expert that are packed together, for gate and up and for down.
int32_t chunk_rows(const ModelShape& s) {
  const int32_t a = rows_together(s.hidden), b = rows_together(s.intermediate);
  return a < b ? a : b;
}

int64_t inner_stride(const ModelShape& s) {
  return layout::round_up(s.intermediate, kBlockRows);
}

Scratch cut_scratch(const ModelShape& s, int64_t max_tokens, int64_t n_workers, void* base) {
  const int64_t n_pairs = (max_tokens < kPassTokens ? max_tokens : kPassTokens) * s.top_k;
  Cut from{static_cast<float*>(base)};
  Scratch to{};
  to.room = chunk_rows(s) * packed_row_size(s.hidden);
  to.packed = cut(&from, n_pairs * packed_row_size(s.hidden));
  to.inner = cut(&from, n_pairs * inner_stride(s));
  to.packed_inner = cut(&from, n_pairs * packed_row_size(s.intermediate));
  to.rooms = cut(&from, n_workers * to.room);
  to.pairs = reinterpret_cast<int32_t*>(cut(&from, n_pairs));
  to.first = reinterpret_cast<int32_t*>(cut(&from, int64_t{s.n_experts} + 1));
  to.active = reinterpret_cast<int32_t*>(cut(&from, s.n_experts));
  to.bytes = from.n * int64_t{sizeof(float)};
  return to;
}

// Counting sort; returns how many experts are active.
int32_t sort_by_expert(const ExpertsArgs<float>& a, const Scratch& to) {
  const int32_t n_experts = a.shape->n_experts;
  const int32_t n_pairs = a.n_tokens * a.shape->top_k;
  for (int32_t e = 0; e <= n_experts; ++e) to.first[e] = 0;
  for (int32_t i = 0; i < n_pairs; ++i) ++to.first[a.ids[i] + 1];
  for (int32_t e = 0; e < n_experts; ++e) to.first[e + 1] += to.first[e];
  for (int32_t i = 0; i < n_pairs; ++i) to.pairs[to.first[a.ids[i]]++] = i;
  // Each start has moved to the next one's place.
  for (int32_t e = n_experts; e > 0; --e) to.first[e] = to.first[e - 1];
  to.first[0] = 0;
  int32_t n_active = 0;
  for (int32_t e = 0; e < n_experts; ++e) {
    const int32_t count = to.first[e + 1] - to.first[e];
    if (count == 0) continue;
    int32_t at = n_active++;
    for (; at > 0; --at) {
      const int32_t other = to.active[at - 1];
      if (to.first[other + 1] - to.first[other] >= count) break;
      to.active[at] = other;
    }
    to.active[at] = e;
  }
  return n_active;
}

/// What the phases of one pass share.
struct Pass {
  const Executor* run;
  const ExpertsArgs<float>& a;
  const ModelShape& s;
  Scratch scratch;
  int32_t n_active;
  bool pairs;   // how products are computed
  bool shared;  // one token, and all experts want it packed alike

  Packing packing(const Matrix& w) const { return packing_of(w, a.activations, pairs); }
};

/// Some rows of one expert, which are packed together.
struct Chunk {
  int32_t expert, n;
  int64_t slot;  // of its first pair
};

// use(chunk) for each chunk of an expert.
template <typename Use>
inline void for_chunks(const Pass& p, int32_t expert, const Use& use) {
  const int32_t* first = p.scratch.first + expert;
  const Parts parts(first[1] - first[0], chunk_rows(p.s));
  for (int64_t i = 0; i < parts.count; ++i) {
    use(Chunk{expert, parts.size(i), first[0] + parts.first(i)});
  }
}

// Tasks of whole experts, or of parts of them where there are few: use(chunk, part of `blocks`).
template <typename Use>
inline void run_blocks(const Pass& p, int64_t blocks, const Use& use) {
  const int64_t wanted = 8 * int64_t{p.run->n_workers};
  const Runs runs(blocks, (wanted + p.n_active - 1) / p.n_active, p.a.n_tokens);
  run_tasks(p.run, p.n_active * runs.count, [&](int32_t task, int32_t worker) {
    const int64_t part = task % runs.count;
    for_chunks(p, p.scratch.active[task / runs.count],
               [&](const Chunk& chunk) { use(chunk, runs.first(part), runs.end(part), worker); });
  });
}

// The rows of x of a chunk.
void pack_x(const Pass& p, const Packing& packing, const Chunk& chunk, float* to) {
  const float* x[kMostRows];
  for (int32_t t = 0; t < chunk.n; ++t) {
    const int64_t token = p.scratch.pairs[chunk.slot + t] / p.s.top_k;
    x[t] = p.a.x + token * p.s.hidden;
  }
  pack_rows(packing, x, chunk.n, 0, n_panels(p.s.hidden), to);
}

void pack_inner(const Pass& p, const Packing& packing, const Chunk& chunk, float* to) {
  const float* x[kMostRows];
  for (int32_t t = 0; t < chunk.n; ++t)
    x[t] = p.scratch.inner + (chunk.slot + t) * inner_stride(p.s);
  pack_rows(packing, x, chunk.n, 0, n_panels(p.s.intermediate), to);
}

float* packed_x(const Pass& p, const Chunk& chunk) {
  return p.scratch.packed + (p.shared ? 0 : chunk.slot * packed_row_size(p.s.hidden));
}

// silu(gate) * up of 64 numbers; the compiler makes vectors of it.
void join_gate_up(const float* gate, const float* up, float* to) {
  for (int64_t i = 0; i < kBlockRows; ++i) {
    to[i] = gate[i] * sigmoid_f32(gate[i]) * up[i];
  }
}

// Blocks [from, end) of gate and up for one chunk.
void gate_up(const Pass& p, const Chunk& chunk, int64_t from, int64_t end, int32_t worker) {
  alignas(64) float gate[kMostRows * kBlockRows];
  const ExpertWeights& w = p.a.experts[chunk.expert];
  const Rows x{packed_x(p, chunk), chunk.n, p.packing(w.gate)};
  Rows up_x{x.data, x.n, p.packing(w.up)};
  if (!same_packing(x.packing, up_x.packing)) {
    float* room = p.scratch.rooms + worker * p.scratch.room;
    pack_x(p, up_x.packing, chunk, room);
    up_x.data = room;
  }
  const int64_t together = blocks_together(x.n);
  for (int64_t block = from; block < end; block += together) {
    const int64_t n = end - block < together ? end - block : together;
    product(w.gate, block, n, x, gate);
    multiply_blocks(w.up, block, block + n, up_x, [&](int64_t b, int64_t t, const float* up) {
      float* to = p.scratch.inner + (chunk.slot + t) * inner_stride(p.s) + b * kBlockRows;
      join_gate_up(gate + ((b - block) * x.n + t) * kBlockRows, up, to);
    });
  }
}

void down(const Pass& p, const Chunk& chunk, int64_t from, int64_t end) {
  const Matrix& w = p.a.experts[chunk.expert].down;
  const Rows x{p.scratch.packed_inner + chunk.slot * packed_row_size(p.s.intermediate), chunk.n,
               p.packing(w)};
  multiply_blocks(w, from, end, x, [&](int64_t block, int64_t t, const float* sums) {
    float* to = p.scratch.packed + p.scratch.pairs[chunk.slot + t] * packed_row_size(p.s.hidden);
    memcpy(to + block * kBlockRows, sums, kBlockRows * sizeof(float));
  });
}

// h of one token.
void combine(const Pass& p, int64_t t) {
  const int64_t stride = packed_row_size(p.s.hidden);
  const float* from = p.scratch.packed + t * p.s.top_k * stride;
  const float* weights = p.a.weights + t * p.s.top_k;
  float* h = p.a.h + t * p.s.hidden;
  for (int64_t k = 0; k < p.s.hidden; k += kBlockRows) {
    const int64_t n = p.s.hidden - k < kBlockRows ? p.s.hidden - k : kBlockRows;
    float sums[kBlockRows] = {};
    for (int32_t i = 0; i < p.s.top_k; ++i) {
      const float* y = from + i * stride + k;
      for (int64_t j = 0; j < kBlockRows; ++j) sums[j] += weights[i] * y[j];
    }
    for (int64_t j = 0; j < n; ++j) h[k + j] += sums[j];
  }
}

// Whether one token packed for one expert will do for all of them.
bool all_alike(const Pass& p) {
  const Packing first = p.packing(p.a.experts[p.scratch.active[0]].gate);
  for (int32_t i = 1; i < p.n_active; ++i) {
    const ExpertWeights& w = p.a.experts[p.scratch.active[i]];
    if (!same_packing(first, p.packing(w.gate))) return false;
  }
  return true;
}

void run_pass(const Executor* run, const ExpertsArgs<float>& a, bool pairs) {
  const ModelShape& s = *a.shape;
  Pass p{run, a, s, cut_scratch(s, a.n_tokens, run->n_workers, a.scratch), 0, pairs, false};
  p.n_active = sort_by_expert(a, p.scratch);
  p.shared = a.n_tokens == 1 && all_alike(p);
  // A few numbers are packed by one task.
  const auto pack = [&](int32_t n_experts, int64_t n_in, const auto& use) {
    const int64_t tasks = int64_t{a.n_tokens} * s.top_k * n_in <= kFewNumbers ? 1 : n_experts;
    run_tasks(run, tasks, [&](int32_t task, int32_t) {
      for (int64_t i = task; i < n_experts; i += tasks) for_chunks(p, p.scratch.active[i], use);
    });
  };
  pack(p.shared ? 1 : p.n_active, s.hidden, [&](const Chunk& chunk) {
    pack_x(p, p.packing(a.experts[chunk.expert].gate), chunk, packed_x(p, chunk));
  });
  run_blocks(p, n_blocks(s.intermediate),
             [&](const Chunk& chunk, int64_t from, int64_t end, int32_t worker) {
               gate_up(p, chunk, from, end, worker);
             });
  pack(p.n_active, s.intermediate, [&](const Chunk& chunk) {
    pack_inner(p, p.packing(a.experts[chunk.expert].down), chunk,
               p.scratch.packed_inner + chunk.slot * packed_row_size(s.intermediate));
  });
  run_blocks(p, n_blocks(s.hidden), [&](const Chunk& chunk, int64_t from, int64_t end, int32_t) {
    down(p, chunk, from, end);
  });
  const int64_t tasks = a.n_tokens < 4 ? 1 : a.n_tokens;
  run_tasks(run, tasks, [&](int32_t task, int32_t) {
    for (int64_t t = task; t < a.n_tokens; t += tasks) combine(p, t);
  });
}

}  // namespace

void experts(const Executor* run, const ExpertsArgs<float>* a, bool pairs) {
  for (int64_t t0 = 0; t0 < a->n_tokens; t0 += kPassTokens) {
    const int64_t left = a->n_tokens - t0, k = a->shape->top_k, hidden = a->shape->hidden;
    ExpertsArgs<float> pass = *a;
    pass.n_tokens = static_cast<int32_t>(left < kPassTokens ? left : kPassTokens);
    pass.x = a->x + t0 * hidden;
    pass.h = a->h + t0 * hidden;
    pass.ids = a->ids + t0 * k;
    pass.weights = a->weights + t0 * k;
    run_pass(run, pass, pairs);
  }
}

int64_t experts_scratch(const ModelShape& s, int64_t max_tokens, int64_t n_workers) {
  return cut_scratch(s, max_tokens, n_workers, nullptr).bytes;
}

}  // namespace mm2::kernels::avx512
