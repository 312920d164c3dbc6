// config.json of the MiniMax-M2 family, in all spellings that are about.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/host.h"
#include "base/json.h"
#include "base/status.h"

namespace mm2 {

struct ModelConfig {
  int32_t n_layers = 0;
  int32_t hidden = 0;
  int32_t n_heads = 0;
  int32_t n_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t rotary_dim = 0;  // even, at most head_dim
  int32_t n_experts = 0;
  int32_t top_k = 0;
  int32_t intermediate = 0;  // of one expert
  int32_t n_vocab = 0;
  int64_t max_positions = 0;
  double rope_theta = 0;
  double rms_norm_eps = 0;
  bool tie_word_embeddings = false;
  // 0 unless use_mtp; layers n_layers + i of the checkpoint belong to them
  int32_t n_mtp_modules = 0;
  std::string model_type;
  std::string torch_dtype;  // "bfloat16"; empty when the file does not say
  Json quantization;        // quantization_config as it stands; null when there is none

  int32_t q_width() const { return n_heads * head_dim; }
  int32_t kv_width() const { return n_kv_heads * head_dim; }
};

/// Reads the text of a config.json. `what` names it in messages. Code::format for what is broken or
/// contradictory (field, number seen, number wanted), Code::unsupported for another architecture or
/// a variant that changes the arithmetic. Oddities that do not (two spellings that disagree,
/// defaults taken) are logged as warnings. quantization_config is only required to be an object
/// here: quant/quant_config.h reads it.
Result<ModelConfig> parse_config(std::string_view text, const std::string& what, const Log& log);

/// The same for the file config.json of a checkpoint folder, or for the file itself when `path`
/// ends in ".json".
Result<ModelConfig> load_config(const std::string& path, const Host& host);

}  // namespace mm2
