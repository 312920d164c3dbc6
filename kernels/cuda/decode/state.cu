// The arguments of all launches of an engine.
#include "kernels/cuda/decode/state.h"

#include <cmath>

namespace mm2::kernels::cuda {

Compiled DecodeState::product(Task task, const DeviceMatrix* const* matrices, int32_t n,
                              const Cut& cut) const {
  const WeightLayout& l = matrices[0]->layout;
  ProductStep p{};
  p.task = task;
  p.records = records_of(l);
  p.n_records = static_cast<int32_t>(l.n_records);
  p.n_in = static_cast<int32_t>(l.n_in);
  p.cut = cut;
  p.block_bytes = l.block_bytes;
  for (int32_t i = 0; i < 3; ++i) {
    p.first_block[i + 1] = p.first_block[i];
    if (i >= n) continue;
    const WeightLayout& own = matrices[i]->layout;
    p.matrices[i] = view_of(*matrices[i]);
    p.first_block[i + 1] += static_cast<int32_t>(own.n_blocks);
    p.n_out[i] = static_cast<int32_t>(own.n_out);
    p.first_row[i] = i == 0 ? 0 : p.first_row[i - 1] + p.n_out[i - 1];
    p.y_stride += own.n_out;
  }
  p.blocks_of_expert = p.first_block[1];
  p.h = h_;
  p.eps = shape_.rms_norm_eps;
  p.input = at_.input;
  p.partials = at_.partials;
  p.counters = at_.counters;
  return {p, decoded(l)};
}

AttentionStep attention_of(const DeviceStep& step, int32_t layer) {
  const ModelShape& shape = step.shape();
  const DeviceLayer& w = step.weights->layers[layer];
  const DeviceKv& kv = step.kv;
  const int64_t scales = int64_t{layer} * shape.n_kv_heads;
  AttentionStep a{};
  a.blocks = kv.blocks;
  a.n_heads = shape.n_heads;
  a.n_kv_heads = shape.n_kv_heads;
  a.head_dim = shape.head_dim;
  a.rotary_dim = shape.rotary_dim;
  a.eps = shape.rms_norm_eps;
  a.q_norm = w.q_norm;
  a.k_norm = w.k_norm;
  a.k_scales = kv.k_scales == nullptr ? nullptr : kv.k_scales + scales;
  a.v_scales = kv.v_scales == nullptr ? nullptr : kv.v_scales + scales;
  a.cache = kv.data + layer * kv.layer_stride;
  a.block_stride = kv.block_stride;
  a.block_size = kv.layout.block_size;
  a.number = kv.layout.number;
  return a;
}

void fill_half_turns(const ModelShape& s, double* half_turns) {
  constexpr double kPi = 3.14159265358979323846;
  for (int32_t i = 0; i < s.rotary_dim / 2; ++i) {
    half_turns[i] = std::pow(s.rope_theta, -2.0 * i / s.rotary_dim) / kPi;
  }
}

void DecodeState::add_attention(const DeviceStep& step, int32_t layer, LayerSteps& to) const {
  AttentionStep& a = to.attention;
  a = attention_of(step, layer);
  a.input = at_.input;
  a.qkv = at_.qkv;
  a.rope = step.buffers.rope;
  a.y = at_.attended;
  a.sums = at_.sums;
  a.tops = at_.tops;
  a.max_chunks = at_.max_chunks;
  a.max_supers = at_.max_supers;
  a.counters = at_.counters + at_.n_product_counters;
}

void DecodeState::add_layer(const DeviceStep& step, int32_t layer) {
  const DeviceLayer& w = step.weights->layers[layer];
  const DecodeCuts cuts = cuts_of(shape_);
  const DeviceExpert& expert = w.host_experts[0];
  const DeviceMatrix* qkv[] = {&w.q, &w.k, &w.v};
  const DeviceMatrix *o[] = {&w.o}, *gate[] = {&expert.gate}, *down[] = {&expert.down};
  LayerSteps to{};
  to.qkv = product(kQkvTask, qkv, 3, cuts.qkv);
  to.qkv.step.norm = w.input_norm;
  to.qkv.step.y = at_.qkv;
  to.o = product(kOTask, o, 1, cuts.o);
  to.o.step.rows = at_.attended;
  to.o.step.y = h_;
  to.gate_up = product(kGateUpTask, gate, 1, cuts.gate_up);
  to.gate_up.step.norm = w.post_attention_norm;
  to.gate_up.step.act = at_.act;
  to.down = product(kDownTask, down, 1, cuts.down);
  to.down.step.rows = at_.act;
  to.down.step.y = h_;
  for (ProductStep* p : {&to.gate_up.step, &to.down.step}) {
    p->experts = w.experts;
    p->routing = at_.routing;
  }
  if (options_.asks_ahead && layer + 1 < shape_.n_layers) {
    const DeviceLayer& next = step.weights->layers[layer + 1];
    const DeviceMatrix* ahead[] = {&next.q, &next.k, &next.v, &next.o};
    for (int32_t i = 0; i < 4; ++i) {
      to.o.step.ahead[i] = ahead[i]->data;
      to.o.step.ahead_bytes[i] = ahead[i]->layout.order;
    }
  }
  add_attention(step, layer, to);
  const WeightLayout& rows = w.router.layout;
  to.router = {at_.input,
               h_,
               w.post_attention_norm,
               shape_.rms_norm_eps,
               shape_.hidden,
               shape_.n_experts,
               shape_.top_k,
               w.router.data,
               rows.block_bytes,
               static_cast<int32_t>(rows.n_records * kRecordCols * 4),
               w.router_bias,
               at_.scores,
               at_.router_counter,
               at_.routing,
               layer,
               step.buffers.ids};
  layers_.push_back(to);
}

DecodeState::DecodeState(const DeviceStep& step, const DecodeOptions& options)
    : shape_(step.shape()),
      options_(options),
      at_(workspace_of(step.shape(), step.limits.max_positions, step.buffers.scratch)),
      h_(step.buffers.h),
      n_staged_(static_cast<int32_t>(divide_up(step.limits.max_tokens, kDecodeTokens) +
                                     divide_up(step.limits.max_outputs, kDecodeTokens))) {
  if (options_.n_multiprocessors == 0) options_.n_multiprocessors = step.limits.n_multiprocessors;
  const DeviceWeights& w = *step.weights;
  for (int32_t l = 0; l < shape_.n_layers; ++l) add_layer(step, l);
  begin_ = {at_.input,
            step.tokens,
            w.embedding.data,
            w.embedding.layout.format.number,
            shape_.hidden,
            shape_.rotary_dim,
            {},
            h_,
            step.buffers.rope,
            at_.counters,
            at_.n_counters};
  fill_half_turns(shape_, begin_.half_turns);
  end_ = {step.rows, h_, shape_.hidden, step.row_results};
  const DeviceMatrix* head[] = {&w.lm_head};
  head_ = product(kHeadTask, head, 1, cuts_of(shape_).head);
  head_.step.norm = w.final_norm;
  head_.step.y = step.buffers.logits;
}

}  // namespace mm2::kernels::cuda
