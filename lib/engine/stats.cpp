#include "engine/engine.h"

namespace mm2 {

Json Engine::stats() const {
  const BlockPool& pool = sequences_->pool();
  const MemoryEstimate m = memory();
  const Counters& c = counters_;
  Json json;
  json["kv"] = {{"block_size", options_.kv_block_size},
                {"total_blocks", pool.n_blocks()},
                {"free_blocks", pool.n_free()},
                {"n_seqs", sequences_->n_seqs()},
                {"bytes", m.kv}};
  json["memory"] = {{"weights", m.weights}, {"kv", m.kv}, {"buffers", m.buffers}};
  json["steps"] = {{"done", c.steps},
                   {"cancelled", c.cancelled},
                   {"kv_exhausted", c.kv_exhausted},
                   {"numeric_rows", c.numeric_rows},
                   {"tokens", c.tokens},
                   {"outputs", c.outputs},
                   {"seconds", static_cast<double>(c.nanoseconds) * 1e-9}};
  // Distinct experts read, summed over steps and layers, and of how many.
  json["experts"] = {
      {"touched", c.experts_touched},
      {"possible", c.expert_layers * static_cast<uint64_t>(model_->shape().n_experts)}};
  json["n_threads"] = options_.n_threads;
  json["backend"] = model_->backend().name;
  return json;
}

}  // namespace mm2
