// What an engine has done since it was made, counted and as JSON.
#include "engine/engine.h"
#include "kernels/api/numbers.h"

namespace mm2 {

void Engine::count(std::span<const SeqRows> rows, uint64_t nanoseconds) {
  const kernels::ModelShape& s = model_->shape();
  const WeightTraffic& traffic = model_->traffic();
  const auto n_layers = static_cast<uint64_t>(s.n_layers);
  const auto q_width = static_cast<uint64_t>(s.n_heads) * static_cast<uint64_t>(s.head_dim);
  const auto kv_width = static_cast<uint64_t>(s.n_kv_heads) * static_cast<uint64_t>(s.head_dim);
  const auto kv_number_bytes = static_cast<uint64_t>(kernels::bytes_of(kv_.number));
  const uint64_t weights_per_token =
      traffic.dense_weights + traffic.expert_weights * n_layers * static_cast<uint64_t>(s.top_k);

  ++counters_.steps;
  counters_.nanoseconds += nanoseconds;
  for (const SeqRows& row : rows) {
    const auto first = static_cast<uint64_t>(row.first_position);
    const auto n = static_cast<uint64_t>(row.n_tokens);
    // Token i of the row attends to first + i + 1 positions, twice: scores and values.
    const uint64_t attended = n * first + n * (n + 1) / 2;
    counters_.tokens += n;
    counters_.outputs += static_cast<uint64_t>(row.n_outputs);
    counters_.kv_bytes += (first + n) * 2 * kv_width * kv_number_bytes * n_layers;
    counters_.multiplications += n * weights_per_token + 2 * attended * q_width * n_layers +
                                 static_cast<uint64_t>(row.n_outputs) * traffic.head_weights;
  }
}

Json Engine::stats() const {
  const BlockPool& pool = sequences_->pool();
  const MemoryEstimate m = memory();
  const Counters& c = counters_;
  const WeightTraffic& traffic = model_->traffic();
  Json json;
  json["steps"] = c.steps;
  json["tokens"] = c.tokens;
  json["outputs"] = c.outputs;
  json["step_seconds"] = static_cast<double>(c.nanoseconds) * 1e-9;
  json["cancelled"] = c.cancelled;
  json["kv_exhausted"] = c.kv_exhausted;
  json["numeric_rows"] = c.numeric_rows;
  json["weight_bytes_read"] = c.steps * (traffic.dense_bytes + traffic.head_bytes) +
                              c.experts_touched * traffic.expert_bytes;
  json["kv_bytes_read"] = c.kv_bytes;
  json["flops"] = 2 * c.multiplications;
  json["experts_touched"] = c.experts_touched;  // distinct ones of a layer in a step, summed
  json["expert_layers"] = c.expert_layers;      // layers run, over all steps
  json["n_experts"] = model_->shape().n_experts;
  Json& layers = json["expert_tokens"] = Json::array();
  for (auto layer = expert_tokens_.begin(); layer != expert_tokens_.end();) {
    const auto end = layer + static_cast<ptrdiff_t>(expert_seen_.size());
    layers.push_back(std::vector<uint64_t>(layer, end));
    layer = end;
  }
  json["kv"] = {{"block_size", options_.kv_block_size},
                {"total_blocks", pool.n_blocks()},
                {"free_blocks", pool.n_available()},
                {"n_seqs", sequences_->n_seqs()},
                {"bytes", m.kv + m.device_kv}};
  const PrefixCounters& p = sequences_->prefix_counters();
  json["prefix"] = {{"enabled", options_.prefix_cache == PrefixCaching::yes},
                    {"queries", p.queries},
                    {"hits", p.hits},
                    {"queried_tokens", p.queried_tokens},
                    {"matched_tokens", p.matched_tokens},
                    {"cached_blocks", sequences_->n_cached()},
                    {"idle_blocks", pool.n_idle()},
                    {"merged_blocks", p.merged_blocks},
                    {"evicted_blocks", p.evicted_blocks}};
  json["memory"] = {{"weights", m.weights + m.device_weights},
                    {"kv", m.kv + m.device_kv},
                    {"buffers", m.buffers + m.device_buffers}};
  if (device_engine_ != nullptr) json["device"] = device_engine_->describe();
  json["n_threads"] = options_.n_threads;
  json["backend"] = model_->backend().name;
  return json;
}

}  // namespace mm2
