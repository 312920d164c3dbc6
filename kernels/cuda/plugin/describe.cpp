// What a step costs, as JSON: by arithmetic, nothing is measured.
#include <cstdio>

#include "kernels/cuda/decode/plan.h"
#include "kernels/cuda/plugin/engine.h"
#include "kernels/cuda/prefill/prefill.h"

namespace mm2::kernels::cuda {
namespace {

int64_t expert_bytes(const DeviceExpert& e) {
  return e.gate.layout.bytes + e.up.layout.bytes + e.down.layout.bytes;
}

// Bytes that a step reads: of experts at most, since which ones were chosen is not known here.
StepBytes bytes_at_most(const DeviceEngine& e, const Tables& tables, const DeviceStep& step) {
  const DeviceWeights& w = e.model->weights;
  const ModelShape& s = w.shape;
  const int64_t chosen = int64_t{e.last.n_tokens} * s.top_k;
  const int64_t touched = chosen < s.n_experts ? chosen : s.n_experts;
  const auto* positions = reinterpret_cast<const int32_t*>(e.pinned + e.room.positions);
  const int64_t head = e.last.n_outputs > 0 ? w.lm_head.layout.bytes : 0;
  StepBytes b = step_bytes(s, LayerBytes{}, head, 0, positions, e.last.n_tokens,
                           kv_row_bytes(s, e.options.kv.number));
  for (int32_t l = 0; l < s.n_layers; ++l) {
    const DeviceLayer& layer = w.layers[l];
    b.attention +=
        layer.q.layout.bytes + layer.k.layout.bytes + layer.v.layout.bytes + layer.o.layout.bytes;
    b.router += layer.router.layout.bytes;
    b.experts += touched * expert_bytes(layer.host_experts[0]);
  }
  if (tables.n > 1) b.kv = fast_kv_bytes(step);
  return b;
}

int64_t longest_position(const DeviceEngine& e) {
  const auto* positions = reinterpret_cast<const int32_t*>(e.pinned + e.room.positions);
  int64_t longest = 0;
  for (int32_t t = 0; t < e.last.n_tokens; ++t) {
    if (positions[t] > longest) longest = positions[t];
  }
  return longest;
}

}  // namespace

const char* describe(DeviceEngine* e) {
  if (e->last.n_tokens == 0) return "{}";
  const Tables tables = tables_of_step(e->tables, e->last.activations);
  DeviceStep step = e->step;
  step.n_tokens = e->last.n_tokens;
  step.n_rows = e->last.n_rows;
  step.n_outputs = e->last.n_outputs;
  const StepBytes b = bytes_at_most(*e, tables, step);
  std::snprintf(
      e->description, sizeof(e->description),
      "{\"kernels\":\"%.40s\",\"tokens\":%d,\"rows\":%d,\"outputs\":%d,\"launches\":%lld,"
      "\"attention_chunks\":%lld,\"bytes_read_at_most\":{\"attention\":%lld,\"router\":%lld,"
      "\"experts\":%lld,\"head\":%lld,\"kv\":%lld}}",
      tables.ops[0]->name, e->last.n_tokens, e->last.n_rows, e->last.n_outputs,
      static_cast<long long>(launches_of(tables, step)),
      static_cast<long long>(chunks_of(longest_position(*e))), static_cast<long long>(b.attention),
      static_cast<long long>(b.router), static_cast<long long>(b.experts),
      static_cast<long long>(b.head), static_cast<long long>(b.kv));
  return e->description;
}

}  // namespace mm2::kernels::cuda
