// quantization_config of a checkpoint: what its writer says about the weights. Which matrix is
// stored how is decided from the tensors themselves (quant/scheme.h); this settles what tensors
// cannot tell (zero conventions, block sizes, bits).
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "base/status.h"

namespace mm2 {

struct QuantConfig {
  // quant_method: "fp8", "gptq", "awq", "auto-round", "compressed-tensors", "modelopt"; empty: none
  std::string method;
  // gptq: "gptq" (stored zero = zero - 1) or "gptq_v2"; auto-round: its packing_format
  std::string checkpoint_format;
  int32_t bits = 0;        // 0: not said
  int32_t group_size = 0;  // 0: not said; -1: a whole row
  bool symmetric = false;
  bool desc_act = false;
  int32_t block_rows = 128;  // weight_block_size
  int32_t block_cols = 128;
};

/// `quantization` is ModelConfig::quantization (null: none), `what` the file it is from. Unknown
/// methods and formats, bits or group sizes that make no sense are refused by name:
/// Code::unsupported or Code::format.
Result<QuantConfig> parse_quant_config(const Json& quantization, const std::string& what);

}  // namespace mm2
