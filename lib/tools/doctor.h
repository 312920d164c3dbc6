// What may be wrong with a checkpoint that opens: each finding with what it does to the model and what
// to do about it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "tools/stream/checkpoint_view.h"

namespace mm2 {

enum class Severity : uint8_t { note, warning, error };

struct Finding {
  std::string check;  // "cold experts"
  Severity severity = Severity::warning;
  std::string where;   // module, layer or file
  std::string found;   // with the numbers seen
  std::string effect;  // on the model
  std::string remedy;

  Json report() const;
};

/// How somebody wants to serve it; 1 = not split.
struct ServingPlan {
  std::string engine;  // "vllm", "sglang", "mm2"; empty: rules that all share
  int32_t tp = 1, ep = 1;
};

/// Router quantised, bias of another length, scales that fused matrices do not share, top_k above the
/// experts. Reads scales, not weights.
Result<std::vector<Finding>> diagnose_weights(const CheckpointView& view);

/// Scales of activations that calibration left implausible: missing, the same default everywhere, or
/// below a quarter of the median of their layer. Experts that saw no tokens look like that, and their
/// inputs saturate.
Result<std::vector<Finding>> diagnose_input_scales(const CheckpointView& view);

/// Zeros of GPTQ v1 that engines read in different ways (docs/decisions/0012-gptq-v1-zeros.md).
Result<std::vector<Finding>> diagnose_zeros(const CheckpointView& view);

/// Scales and biases of the FP8 cache.
Result<std::vector<Finding>> diagnose_kv_scales(const CheckpointView& view);

/// Whether the matrices can be split so: blocks and groups of scales must not be cut.
std::vector<Finding> diagnose_serving(const CheckpointView& view, const ServingPlan& plan);

/// [n_layers] the largest k_scale that can be right: a key after k_norm, over the whole width, and
/// rotation is at most sqrt(width) * largest weight of the norm, over 448 then. Needs no data.
Result<std::vector<float>> largest_k_scales(const CheckpointView& view);

/// The scale of activations of a weight, "X.input_scale" or 1 / "X.input_global_scale"; nothing where
/// there is none.
Result<std::optional<float>> input_scale_of(const CheckpointView& view, const ViewWeight& weight);

}  // namespace mm2
