// Attention over blocks of 64 absolute positions, ascending. For each query (a head of a token):
//   score[p] = (sum over pairs of components, odd first) * (1 / sqrt(head_dim))
//   greatest' = max(greatest, scores)
//   fade = exp(greatest - greatest'), e[p] = exp(score[p] - greatest')
//   total = total * fade + sum of e (position p in lane p mod 16, ascending; lanes in halves)
//   y = y * fade + e[p] v[p], p ascending
// and y / total at the end. Positions after the query's own are not touched by any arithmetic that
// reaches it: the cache may hold anything there.
#include <cmath>

#include "kernels/api/parallel.h"
#include "kernels/cpu/generic/generic.h"
#include "kernels/cpu/common/math.h"
#include "kernels/cpu/generic/product.h"
#include "kernels/cpu/common/vec.h"
#include "kernels/cpu/layout/kv.h"

namespace mm2::kernels::generic {
namespace {
using namespace common;

constexpr int32_t kBlock = kAttentionBlock;
constexpr int32_t kQueries = 32;  // about as many share one reading of keys and values

static_assert(kBlock == 64, "a block of keys has the lanes of a block of weights");

/// Query heads that read one KV head.
int32_t heads_in_group(const ModelShape& s) {
  return s.n_heads / s.n_kv_heads;
}

int32_t tokens_in_task(const ModelShape& s) {
  const int32_t n = kQueries / heads_in_group(s);
  return n < 1 ? 1 : n;
}

/// Components of a key or value, with what fills them up.
int64_t value_width(const ModelShape& s) {
  return round_up(s.head_dim, 16);
}

/// One worker's buffers.
struct Scratch {
  float* keys;      // [width, 64]
  float* values;    // [64, width]
  float* factors;   // [max(head_dim, 64), kTile, 4]
  float* scores;    // [n_queries, 64]
  float* sums;      // [n_queries, width]
  float* greatest;  // [n_queries]
  float* total;     // [n_queries]
  int64_t bytes;
};

Scratch cut_scratch(const ModelShape& s, void* base, int64_t worker) {
  const int64_t n_queries = int64_t{tokens_in_task(s)} * heads_in_group(s);
  const int64_t steps = value_width(s) > kBlock ? value_width(s) : kBlock;
  Cutter cut{static_cast<char*>(base)};
  Scratch scratch{};
  for (int pass = 0; pass < 2; ++pass) {  // the first one finds the size
    scratch.keys = cut.take<float>(value_width(s) * kBlock);
    scratch.values = cut.take<float>(value_width(s) * kBlock);
    scratch.factors = cut.take<float>(steps * kTile * 4);
    scratch.scores = cut.take<float>(n_queries * kBlock);
    scratch.sums = cut.take<float>(n_queries * value_width(s));
    scratch.greatest = cut.take<float>(n_queries);
    scratch.total = cut.take<float>(n_queries);
    if (pass == 0) {
      scratch.bytes = cut.bytes;
      if (base == nullptr) break;
      cut = Cutter{static_cast<char*>(base) + worker * scratch.bytes};
    }
  }
  return scratch;
}

/// Consecutive tokens of one sequence, and one KV head.
struct Task {
  const StepRow* row;
  int64_t first_token;  // of the step
  int64_t first_position;
  int32_t n_tokens;
  int32_t kv_head;
};

int64_t tasks_of(const ModelShape& s, const StepRow& row) {
  const int32_t n = tokens_in_task(s);
  return int64_t{s.n_kv_heads} * ((row.n_tokens + n - 1) / n);
}

Task find_task(const AttentionArgs<float>& a, int64_t index) {
  const ModelShape& s = *a.shape;
  const StepRow* row = a.rows;
  for (; index >= tasks_of(s, *row); ++row) index -= tasks_of(s, *row);
  const int32_t n = tokens_in_task(s);
  const int64_t first = index / s.n_kv_heads * n;
  const int64_t left = row->n_tokens - first;
  return {row, row->first_token + first, row->first_position + first,
          static_cast<int32_t>(left < n ? left : n), static_cast<int32_t>(index % s.n_kv_heads)};
}

// Elements of a group of lanes as floats, [n_steps, lanes] at distance `stride`: step i in row
// i ^ flip.
void widen(int32_t number, const char* from, int64_t lanes, int64_t n_steps, int64_t stride,
           int64_t flip, float* to) {
  for (int64_t step = 0; step < n_steps; step += layout::kv_together(number)) {
    const char* at = from + layout::kv_offset(number, lanes, 0, step);
    float* row = to + (step ^ flip) * stride;
    float* next = to + ((step + 1) ^ flip) * stride;
    for (int64_t i = 0; i < lanes; i += 4) {
      if (number == kF32) {
        store4(row + i, load4(reinterpret_cast<const float*>(at) + i));
      } else {
        const Pair4 w = bf16_pairs(load4(reinterpret_cast<const uint32_t*>(at) + i));
        store4(row + i, w.low);
        if (step + 1 < n_steps) store4(next + i, w.high);
      }
    }
  }
}

struct Block {
  const float* keys;    // [key_steps, 64], of each pair the odd one first
  const float* values;  // [64, value_lanes]
};

// Only the values of the first n_valid positions are read: the others may hold anything.
Block read_block(const AttentionArgs<float>& a, const Task& task, const Scratch& scratch,
                 int64_t position, int64_t n_valid) {
  const layout::KvUnit u = layout::kv_unit_of(*a.shape, a.kv->number);
  const char* unit = layout::kv_unit_at(*a.kv, u, *task.row, a.layer, task.kv_head, position);
  widen(u.number, unit, kBlock, u.key_steps, kBlock, 1, scratch.keys);
  for (int64_t d = 0; d < u.value_lanes; d += kBlock) {
    const layout::ValueGroup group = layout::value_group(u, d);
    widen(u.number, unit + group.offset, group.lanes, n_valid, u.value_lanes, 0,
          scratch.values + d);
  }
  return {scratch.keys, scratch.values};
}

float sum_of_lanes(const float* e) {
  float lanes[16];
  for (int64_t i = 0; i < 16; ++i) lanes[i] = e[i];
  for (int64_t p = 16; p < kBlock; p += 16) {
    for (int64_t i = 0; i < 16; ++i) lanes[i] += e[p + i];
  }
  for (int64_t half = 8; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

// Scores of one query become e; its total and its sums fade.
void soften(float* scores, int64_t n_valid, float scale, int64_t width, float* greatest,
            float* total, float* sums) {
  float most = *greatest;
  for (int64_t p = 0; p < n_valid; ++p) {
    scores[p] *= scale;
    most = scores[p] > most ? scores[p] : most;
  }
  for (int64_t p = 0; p < n_valid; ++p) scores[p] = exp_f32(scores[p] - most);
  for (int64_t p = n_valid; p < kBlock; ++p) scores[p] = 0.0f;
  const float fade = exp_f32(*greatest - most);
  *greatest = most;
  *total = *total * fade + sum_of_lanes(scores);
  for (int64_t d = 0; d < width; ++d) sums[d] *= fade;
}

class Worker {
 public:
  Worker(const AttentionArgs<float>& a, const Task& task, const Scratch& scratch)
      : a_(a), s_(*a.shape), task_(task), scratch_(scratch), group_(heads_in_group(s_)) {}

  void run() {
    const int32_t n_queries = task_.n_tokens * group_;
    for (int32_t q = 0; q < n_queries; ++q) {
      scratch_.greatest[q] = -3.4e38f;
      scratch_.total[q] = 0.0f;
    }
    for (int64_t i = 0; i < n_queries * value_width(s_); ++i) scratch_.sums[i] = 0.0f;
    const int64_t last = task_.first_position + task_.n_tokens - 1;
    for (int64_t position = 0; position <= last; position += kBlock) {
      const Block block = read_block(a_, task_, scratch_, position, valid(last, position));
      // Queries that see equally many positions go together.
      for (int32_t q = 0; q < n_queries;) {
        const int64_t n_valid = valid(position_of(q), position);
        int32_t n = 1;
        while (n < kTile && q + n < n_queries && valid(position_of(q + n), position) == n_valid)
          ++n;
        if (n_valid > 0) add_block(block, q, n, n_valid);
        q += n;
      }
    }
    for (int32_t q = 0; q < n_queries; ++q) {
      float* y = a_.y + head_offset(q);
      const float* sums = scratch_.sums + q * value_width(s_);
      for (int64_t d = 0; d < s_.head_dim; ++d) y[d] = sums[d] / scratch_.total[q];
    }
  }

 private:
  int64_t position_of(int32_t query) const { return task_.first_position + query / group_; }

  static int64_t valid(int64_t position, int64_t block_start) {
    const int64_t n = position + 1 - block_start;
    return n < 0 ? 0 : n < kBlock ? n : kBlock;
  }

  int64_t head_offset(int32_t query) const {
    const int64_t token = task_.first_token + query / group_;
    const int64_t head = int64_t{task_.kv_head} * group_ + query % group_;
    return (token * s_.n_heads + head) * s_.head_dim;
  }

  // n queries from q on, n <= kTile, which see n_valid positions of the block.
  void add_block(const Block& block, int32_t q, int32_t n, int64_t n_valid) {
    const int64_t width = value_width(s_);
    const int64_t steps = round_up(s_.head_dim, 2);
    float* scores = scratch_.scores + q * kBlock;
    for (int64_t i = 0; i < n * kBlock; ++i) scores[i] = 0.0f;
    for (int32_t t = 0; t < n; ++t) {
      const float* query = a_.q + head_offset(q + t);
      for (int64_t d = 0; d < steps; ++d) {
        const float q_d = (d ^ 1) < s_.head_dim ? query[d ^ 1] : 0.0f;
        store4(scratch_.factors + (d * n + t) * 4, splat4(q_d));
      }
    }
    add_products(block.keys, kBlock, kBlock, scratch_.factors, steps, n, scores, kBlock);
    const float scale = 1.0f / std::sqrt(static_cast<float>(s_.head_dim));
    for (int32_t t = 0; t < n; ++t) {
      float* e = scores + t * kBlock;
      soften(e, n_valid, scale, width, &scratch_.greatest[q + t], &scratch_.total[q + t],
             scratch_.sums + (q + t) * width);
      for (int64_t p = 0; p < n_valid; ++p) {
        store4(scratch_.factors + (p * n + t) * 4, splat4(e[p]));
      }
    }
    add_products(block.values, width, width, scratch_.factors, n_valid, n,
                 scratch_.sums + q * width, width);
  }

  const AttentionArgs<float>& a_;
  const ModelShape& s_;
  const Task& task_;
  const Scratch& scratch_;
  const int32_t group_;
};

}  // namespace

void attention(const Executor* run, const AttentionArgs<float>* a) {
  int64_t n_tasks = 0;
  for (int32_t r = 0; r < a->n_rows; ++r) n_tasks += tasks_of(*a->shape, a->rows[r]);
  run_tasks(run, n_tasks, [&](int32_t index, int32_t worker) {
    const Task task = find_task(*a, index);
    const Scratch scratch = cut_scratch(*a->shape, a->scratch, worker);
    Worker(*a, task, scratch).run();
  });
}

int64_t attention_scratch(const ModelShape& s, int64_t n_workers) {
  return n_workers * cut_scratch(s, nullptr, 0).bytes;
}

}  // namespace mm2::kernels::generic
