// The whole input is a config.json, its quantization_config included.
#include "base/json.h"
#include "format/config.h"
#include "fuzz/property.h"
#include "quant/quant_config.h"

using namespace mm2;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = parse_config(text, "config.json", Log());
  if (!config.ok()) {
    fuzz::require_told(config.status(), {Code::format, Code::unsupported});
    return 0;
  }
  require(config->n_layers > 0 && config->hidden > 0 && config->n_vocab > 0, "sizes are positive");
  require(
      config->n_heads > 0 && config->n_kv_heads > 0 && config->n_heads % config->n_kv_heads == 0,
      "heads share keys evenly");
  require(config->rotary_dim >= 0 && config->rotary_dim % 2 == 0 &&
              config->rotary_dim <= config->head_dim,
          "rotary components come in pairs and fit");
  require(config->top_k > 0 && config->top_k <= config->n_experts,
          "no more experts taken than there are");
  require(config->rope_theta > 0 && config->rms_norm_eps >= 0,
          "numbers are finite and of the right sign");
  require(config->quantization.is_null() || config->quantization.is_object(),
          "an object or nothing");
  const auto quant = parse_quant_config(config->quantization, "config.json");
  if (!quant.ok()) {
    fuzz::require_told(quant.status(), {Code::format, Code::unsupported});
    return 0;
  }
  require(config->quantization.is_null() == quant->method.empty(),
          "a method is known, or there is none");
  return 0;
}
