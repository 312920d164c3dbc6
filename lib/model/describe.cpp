// Model::describe: what a host or a person wants to know about a loaded checkpoint, as JSON.
#include "model/describe.h"

#include "device/report.h"
#include "model/model.h"

namespace mm2 {
namespace {

Json config_json(const ModelConfig& c) {
  return {{"model_type", c.model_type},
          {"n_layers", c.n_layers},
          {"hidden", c.hidden},
          {"n_heads", c.n_heads},
          {"n_kv_heads", c.n_kv_heads},
          {"head_dim", c.head_dim},
          {"rotary_dim", c.rotary_dim},
          {"rope_theta", c.rope_theta},
          {"n_experts", c.n_experts},
          {"top_k", c.top_k},
          {"intermediate", c.intermediate},
          {"n_vocab", c.n_vocab},
          {"max_positions", c.max_positions},
          {"rms_norm_eps", c.rms_norm_eps},
          {"tie_word_embeddings", c.tie_word_embeddings}};
}

Json generation_json(const GenerationConfig& g) {
  Json json = Json::object();
  if (g.temperature) json["temperature"] = *g.temperature;
  if (g.top_p) json["top_p"] = *g.top_p;
  if (g.top_k) json["top_k"] = *g.top_k;
  if (g.min_p) json["min_p"] = *g.min_p;
  if (g.repetition_penalty) json["repetition_penalty"] = *g.repetition_penalty;
  if (g.do_sample) json["do_sample"] = *g.do_sample;
  json["eos_token_ids"] = g.eos_token_ids;
  return json;
}

}  // namespace

Json count_schemes(const DescribedWeights& described) {
  Json json = Json::object();
  for (size_t i = 0; i < described.size(); ++i) {
    const auto [place, description] = described[i];
    Json& role = json[std::string(role_name(place.role))];
    if (role.is_null()) role = Json::object();
    Json& count = role[description.is_plain() ? std::string(dtype_name(description.dtype()))
                                              : description.to_string()];
    count = count.is_null() ? 1 : count.get<int64_t>() + 1;
  }
  return json;
}

Json Model::describe() const {
  Json json = {{"config", config_json(config_)},
               {"schemes", schemes_},
               {"kv_scales", !kv_scales_.empty()},
               {"generation", generation_json(generation_)},
               {"backend", backend_->name},
               {"n_parameters", n_parameters_},
               {"n_tensors", checkpoint_->tensors().size()},
               {"n_shards", checkpoint_->shards().size()},
               {"tensor_bytes", checkpoint_->tensor_bytes()},
               {"memory",
                {{"owned", bytes_.owned},
                 {"mapped", bytes_.mapped},
                 {"staging", bytes_.staging},
                 {"device", bytes_.device}}},
               {"active_bytes_per_token", active_bytes_per_token()}};
  if (plugin_ != nullptr) json["plugin"] = plugin_->file();
  if (device_model_ != nullptr) {
    json["device"] = describe_device(device_model_->device()->info());
    json["device"]["index"] = device_model_->device()->index();
  }
  return json;
}

}  // namespace mm2
