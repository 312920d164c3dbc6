// quantization_config of a checkpoint: what its writer says about the weights. Which matrix is
// stored how is seen from the tensors themselves (quant/scheme.h); this settles what tensors cannot
// tell (zero conventions, block sizes), and the rest of it is compared with them. Lists of modules
// that are not quantised are not read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/host.h"
#include "base/json.h"
#include "base/status.h"
#include "quant/layer_rules.h"

namespace mm2 {

struct QuantConfig {
  std::string what;  // file and field, for messages
  // quant_method: "fp8", "gptq", "awq", "auto-round", "compressed-tensors", "modelopt"; empty: none
  std::string method;
  // gptq: checkpoint_format, auto-round: packing_format, as it stands there
  std::string checkpoint_format;
  // what that means: "gptq" (stored zero = zero - 1), "gptq_v2" (the zero itself) or "awq"; empty:
  // not said
  std::string layout;
  std::string algorithm;  // modelopt: quant_algo
  QuantWords words;       // for all matrices
  LayerRules rules;       // for some
  // oddities that change nothing, for the log
  std::vector<std::string> remarks;

  struct Said {
    QuantWords words;
    std::string by;  // where it stands, for messages
  };
  /// What is said about one matrix.
  Said about(const WeightPlace& place) const;
};

/// `quantization` is ModelConfig::quantization (null: none), `what` the file it is from. Unknown
/// methods and formats, bits or group sizes that make no sense are refused by name:
/// Code::unsupported or Code::format. A pattern that cannot be matched is a remark.
Result<QuantConfig> parse_quant_config(const Json& quantization, const std::string& what);

/// The same for a checkpoint folder ("": the current one): where config.json has nothing, the first
/// of quantization_config.json, quantize_config.json and hf_quant_config.json that is there. Two of
/// the four that contradict each other are Code::format with both sides named.
Result<QuantConfig> load_quant_config(const Json& quantization, const std::string& folder,
                                      const Host& host);

}  // namespace mm2
