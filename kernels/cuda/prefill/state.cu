#include "kernels/cuda/prefill/state.h"

namespace mm2::kernels::cuda {
namespace {

struct Widths {
  int64_t q, kv, all;
};
Widths widths_of(const ModelShape& s) {
  const int64_t q = int64_t{s.n_heads} * s.head_dim, kv = int64_t{s.n_kv_heads} * s.head_dim;
  return {q, kv, q + 2 * kv};
}

/// Partial sums that a product of up to n_tokens tokens leaves, at most. Few tokens can leave more than
/// many, whose pieces are not shared out.
int64_t most_partials(int64_t n_out, int64_t n_in, const Cut& cut, int32_t n_tokens,
                      int32_t n_processors) {
  const WeightLayout l = layout_of(plain(kBF16), n_out, n_in);
  int64_t most = 0;
  for (int32_t n = 1; n <= n_tokens; ++n) {
    const int64_t bytes = dense_partial_bytes(l, cut, n, n_processors);
    if (bytes > most) most = bytes;
    // From here on a tile is full width, and more tiles only make it worse.
    if (bytes == 0 && n > 2 * kMostWidth) break;
  }
  return most;
}

}  // namespace

PrefillRoom prefill_room(const ModelShape& s, const DeviceLimits& limits, char* base) {
  const Widths w = widths_of(s);
  const DecodeCuts cuts = cuts_of(s);
  const int64_t n = limits.max_tokens;
  PrefillRoom at{};
  at.max_chunks = static_cast<int32_t>(divide_up(limits.max_positions, kChunkPositions));
  at.max_supers = static_cast<int32_t>(divide_up(at.max_chunks, kSuperChunks));
  at.max_groups = static_cast<int32_t>(n);
  at.n_counters = kDecodeTokens * s.n_kv_heads * (at.max_supers + 1);
  const int64_t most_rows = n > limits.max_outputs ? n : int64_t{limits.max_outputs};
  const int64_t widest = s.hidden > w.q ? s.hidden : w.q;
  int64_t partials = 0;
  const auto needs = [&](int64_t n_out, int64_t n_in, const Cut& cut, int64_t n_rows) {
    const int64_t bytes =
        most_partials(n_out, n_in, cut, static_cast<int32_t>(n_rows), limits.n_multiprocessors);
    if (bytes > partials) partials = bytes;
  };
  needs(w.q, s.hidden, cuts.qkv, n);
  needs(w.kv, s.hidden, cuts.qkv, n);
  needs(s.hidden, w.q, cuts.o, n);
  needs(s.n_vocab, s.hidden, cuts.head, limits.max_outputs);
  Cutter cut(base);
  at.qkv = cut.take<float>(n * w.all);
  at.attended = cut.take<uint16_t>(n * w.q);
  at.tiles = cut.take<uint8_t>((most_rows + dense_width(static_cast<int32_t>(most_rows)) - 1) *
                               round_up(widest, kRecordCols) * 2);
  at.partials = cut.take<float>(partials / 4);
  at.experts =
      cut.take<uint8_t>(experts_scratch_bytes(n, s.top_k, s.n_experts, s.hidden, s.intermediate));
  at.inputs = cut.take<StepInput>(at.max_groups);
  at.queries = cut.take<QueryTile>(at.max_groups);
  at.q = cut.take<uint16_t>(n * s.n_heads * kQueryWidth);
  at.tile_sums = cut.take<float>(prefill_attention_sums(limits.n_multiprocessors));
  const int64_t places = kDecodeTokens * s.n_heads * int64_t{at.max_chunks + at.max_supers};
  at.sums = cut.take<float>(places * s.head_dim);
  at.tops = cut.take<float2>(places);
  at.counters = cut.take<uint32_t>(at.n_counters);
  at.bytes = cut.bytes();
  return at;
}

PrefillState::PrefillState(const DeviceStep& largest)
    : shape_(largest.shape()),
      cuts_(cuts_of(shape_)),
      at_(prefill_room(shape_, largest.limits, largest.buffers.scratch)),
      rows_{},
      n_processors_(largest.limits.n_multiprocessors) {
  const DeviceMatrix& embedding = largest.weights->embedding;
  rows_.embedding = embedding.data;
  rows_.number = embedding.layout.format.number;
  rows_.hidden = shape_.hidden;
  rows_.rotary_dim = shape_.rotary_dim;
  fill_half_turns(shape_, rows_.half_turns);
  group_tokens_.reserve(static_cast<size_t>(at_.max_groups) + 1);
}

PrefillState::~PrefillState() {
  if (uploaded_ != nullptr) (void)cudaEventDestroy(uploaded_);
  if (staging_ != nullptr) (void)cudaFreeHost(staging_);
  if (tiles_ != nullptr) (void)cudaFreeHost(tiles_);
}

cudaError_t PrefillState::prepare(const DeviceStep& largest) {
  const auto n_bytes = static_cast<size_t>(at_.max_groups) * sizeof(StepInput);
  void* staging = nullptr;
  cudaError_t error = cudaHostAlloc(&staging, n_bytes, cudaHostAllocDefault);
  staging_ = static_cast<StepInput*>(staging);
  if (error == cudaSuccess) {
    void* tiles = nullptr;
    error = cudaHostAlloc(&tiles, static_cast<size_t>(at_.max_groups) * sizeof(QueryTile),
                          cudaHostAllocDefault);
    tiles_ = static_cast<QueryTile*>(tiles);
  }
  if (error == cudaSuccess) {
    error = allow_prefill_attention(largest.kv.layout.number, shape_.head_dim);
  }
  if (error == cudaSuccess) error = cudaEventCreateWithFlags(&uploaded_, cudaEventDisableTiming);
  if (error == cudaSuccess) error = allow_choice(shape_.hidden, shape_.n_experts);
  const DeviceWeights& w = *largest.weights;
  const auto allow = [&](const DeviceMatrix& m) {
    if (error == cudaSuccess) error = allow_products(decoded(m.layout));
  };
  allow(w.lm_head);
  for (int32_t l = 0; l < shape_.n_layers; ++l) {
    const DeviceLayer& layer = w.layers[l];
    for (const DeviceMatrix* m : {&layer.q, &layer.k, &layer.v, &layer.o}) allow(*m);
    allow(layer.host_experts[0].gate);
    allow(layer.host_experts[0].down);
  }
  return error;
}

/// Attention of rows of more than 8 tokens goes over tiles of them. That of others goes over up to 8
/// neighbouring tokens at once.
cudaError_t PrefillState::upload_groups(const DeviceStep& step) {
  cudaError_t error = cudaEventSynchronize(uploaded_);
  if (error != cudaSuccess) return error;
  group_tokens_.clear();
  n_tiles_ = 0;
  StepInput* in = nullptr;  // of the last group
  TokenGroup group;
  for (int32_t r = 0; r < step.n_rows; ++r) {
    const DeviceRow& row = step.host_rows[r];
    if (row.n_tokens >= kLeastTileTokens) {
      n_tiles_ += tiles_of_row(row, shape_.n_heads, shape_.n_kv_heads, tiles_ + n_tiles_);
      continue;
    }
    for (int32_t i = 0; i < row.n_tokens; ++i) {
      if (group.begins(row.first_token + i)) {
        in = staging_ + group_tokens_.size();
        *in = StepInput{};
        group_tokens_.push_back(row.first_token + i);
      }
      if (in->n_rows == 0 || i == 0) {
        const int32_t at = in->n_rows++;
        in->first_token[at] = in->n_tokens;
        in->row_tokens[at] = 0;
        in->first_block[at] = row.first_block;
      }
      ++in->row_tokens[in->n_rows - 1];
      in->positions[in->n_tokens++] = row.first_position + i;
    }
  }
  sort_tiles(tiles_, n_tiles_);
  if (n_tiles_ > 0) {
    const size_t n_bytes = static_cast<size_t>(n_tiles_) * sizeof(QueryTile);
    error = cudaMemcpyAsync(at_.queries, tiles_, n_bytes, cudaMemcpyHostToDevice, step.stream);
  }
  if (error == cudaSuccess && !group_tokens_.empty()) {
    const size_t n_bytes = group_tokens_.size() * sizeof(StepInput);
    error = cudaMemcpyAsync(at_.inputs, staging_, n_bytes, cudaMemcpyHostToDevice, step.stream);
  }
  return error != cudaSuccess ? error : cudaEventRecord(uploaded_, step.stream);
}

/// Of the activations in the tiles.
cudaError_t PrefillState::product(const DeviceStep& step, const DeviceMatrix& w, const Cut& cut,
                                  int32_t n_tokens, const float* add, float* y, int64_t y_stride) {
  const DenseProduct p{w.layout, view_of(w), cut,      at_.tiles,   n_tokens,
                       add,      y,          y_stride, at_.partials};
  return dense_product(p, n_processors_, step.stream);
}

cudaError_t PrefillState::attend(const DeviceStep& step, int32_t layer) {
  const Widths width = widths_of(shape_);
  AttentionStep a = attention_of(step, layer);
  a.sums = at_.sums;
  a.tops = at_.tops;
  a.max_chunks = at_.max_chunks;
  a.max_supers = at_.max_supers;
  a.counters = at_.counters;
  if (n_tiles_ > 0) {
    PrefillAttention tiles{a, at_.queries, n_tiles_, at_.q, at_.tile_sums};
    tiles.step.qkv = at_.qkv;
    tiles.step.rope = step.buffers.rope;
    tiles.step.y = at_.attended;
    cudaError_t error = enter_rows(tiles, step.stream);
    if (error == cudaSuccess) error = prefill_attention(tiles, n_processors_, step.stream);
    if (error != cudaSuccess) return error;
  }
  for (size_t g = 0; g < group_tokens_.size(); ++g) {
    const int64_t first = group_tokens_[g];
    a.input = at_.inputs + g;
    a.qkv = at_.qkv + first * width.all;
    a.rope = step.buffers.rope + first * shape_.rotary_dim;
    a.y = at_.attended + first * width.q;
    // What it asks for before it waits, old positions of the cache, was there before the step.
    const cudaError_t error = run_attention(a, n_processors_, g > 0, step.stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t PrefillState::attention_half(const DeviceStep& step, int32_t layer) {
  const DeviceLayer& w = step.weights->layers[layer];
  const StepBuffers& b = step.buffers;
  const Widths width = widths_of(shape_);
  const int32_t n = step.n_tokens;
  const Norm norm{b.h, nullptr, w.input_norm, shape_.rms_norm_eps, shape_.hidden, b.x};
  cudaError_t error = norm_rows(norm, n, step.stream);
  if (error == cudaSuccess) {
    error = pack_tokens(b.x, n, shape_.hidden, dense_width(n), at_.tiles, step.stream);
  }
  const auto project = [&](const DeviceMatrix& m, int64_t first_column) {
    if (error != cudaSuccess) return;
    error = product(step, m, cuts_.qkv, n, nullptr, at_.qkv + first_column, width.all);
  };
  project(w.q, 0);
  project(w.k, width.q);
  project(w.v, width.q + width.kv);
  if (error == cudaSuccess) error = attend(step, layer);
  if (error == cudaSuccess) {
    error = pack_halves(at_.attended, n, width.q, dense_width(n), at_.tiles, step.stream);
  }
  if (error != cudaSuccess) return error;
  return product(step, w.o, cuts_.o, n, b.h, b.h, shape_.hidden);
}

cudaError_t PrefillState::experts_half(const DeviceStep& step, int32_t layer) {
  const DeviceLayer& w = step.weights->layers[layer];
  const StepBuffers& b = step.buffers;
  const Norm norm{b.h, nullptr, w.post_attention_norm, shape_.rms_norm_eps, shape_.hidden, b.x};
  cudaError_t error = norm_rows(norm, step.n_tokens, step.stream);
  if (error != cudaSuccess) return error;
  const WeightLayout& gate = w.router.layout;
  int32_t* ids = b.ids + int64_t{layer} * step.n_tokens * shape_.top_k;
  const Choice choice{b.x,
                      step.n_tokens,
                      shape_.hidden,
                      shape_.n_experts,
                      shape_.top_k,
                      w.router.data,
                      gate.block_bytes,
                      static_cast<int32_t>(gate.n_records * kRecordCols * 4),
                      w.router_bias,
                      ids,
                      b.weights};
  error = choose_experts(choice, step.stream);
  if (error != cudaSuccess) return error;
  ExpertsProduct p{};
  p.gate = w.host_experts[0].gate.layout;
  p.down = w.host_experts[0].down.layout;
  p.gate_cut = cuts_.gate_up;
  p.down_cut = cuts_.down;
  p.experts = w.experts;
  p.n_experts = shape_.n_experts;
  p.top_k = shape_.top_k;
  p.n_tokens = step.n_tokens;
  p.hidden = shape_.hidden;
  p.intermediate = shape_.intermediate;
  p.x = b.x;
  p.ids = ids;
  p.weights = b.weights;
  p.h = b.h;
  p.scratch = at_.experts;
  return experts_product(p, n_processors_, step.stream);
}

cudaError_t PrefillState::run_layers(const DeviceStep& step) {
  cudaError_t error = upload_groups(step);
  if (error == cudaSuccess) {
    error = cudaMemsetAsync(at_.counters, 0, static_cast<size_t>(at_.n_counters) * 4, step.stream);
  }
  if (error != cudaSuccess) return error;
  Rows rows = rows_;
  rows.tokens = step.tokens;
  rows.positions = step.positions;
  rows.h = step.buffers.h;
  rows.rope = step.buffers.rope;
  error = begin_rows(rows, step.n_tokens, step.stream);
  for (int32_t l = 0; l < shape_.n_layers && error == cudaSuccess; ++l) {
    if (l > 0 && step.stops != nullptr && step.stops(step.stops_self, l) != 0) break;
    error = attention_half(step, l);
    if (error == cudaSuccess) error = experts_half(step, l);
  }
  return error;
}

cudaError_t PrefillState::finish(const DeviceStep& step) {
  const StepBuffers& b = step.buffers;
  const int32_t n = step.n_outputs;
  cudaError_t error =
      judge_rows(b.h, shape_.hidden, step.rows, step.n_rows, step.row_results, step.stream);
  if (error != cudaSuccess || n == 0) return error;
  const Norm norm{b.h,           step.output_tokens, step.weights->final_norm, shape_.rms_norm_eps,
                  shape_.hidden, b.outputs};
  error = norm_rows(norm, n, step.stream);
  if (error == cudaSuccess) {
    error = pack_tokens(b.outputs, n, shape_.hidden, dense_width(n), at_.tiles, step.stream);
  }
  if (error != cudaSuccess) return error;
  return product(step, step.weights->lm_head, cuts_.head, n, nullptr, b.logits, shape_.n_vocab);
}

}  // namespace mm2::kernels::cuda
