// What the kernels of a decoding step are told, as they find it in the device's memory. All of it is
// plain: the host fills it, or a kernel before them.
#pragma once

#include "kernels/cuda/common/device_ops.h"
#include "kernels/cuda/decode/plan.h"

namespace mm2::kernels::cuda {

/// Of one slice of a step: up to 8 tokens, of one row or of several, or up to 8 outputs. The host copies
/// it to the device before the slice's first kernel. Tokens are counted from the slice's first one.
struct StepInput {
  int32_t n_tokens, n_rows, n_outputs;
  int32_t step_tokens;   // of the whole step
  int32_t base;          // the step's token that is the slice's first
  int32_t first_output;  // the row of logits that is the slice's first
  int32_t positions[kDecodeTokens];
  // Of each row: its first token in the slice and how many it has there, at positions one after the
  // other.
  int32_t first_token[kDecodeTokens];
  int32_t row_tokens[kDecodeTokens];
  int32_t first_block[kDecodeTokens];  // of each row, in DeviceKv::blocks
  int32_t outputs[kDecodeTokens];      // the token of each row of logits
};

/// The experts that the tokens of a step chose in one layer, ids ascending.
constexpr int32_t kMostChoices = 16;  // top_k
struct Routing {
  float weights[kDecodeTokens * kMostChoices];  // [n_tokens, top_k]
  int32_t n_touched;
  int32_t experts[kDecodeTokens * kMostChoices];              // [n_touched]
  uint32_t choosers[kDecodeTokens * kMostChoices];            // [n_touched] bit t: token t chose it
  float shares[kDecodeTokens * kMostChoices][kDecodeTokens];  // [n_touched, token], else 0
};

/// Of a packed matrix what changes from one to the next.
struct WeightView {
  const char* data;
  float output_scale;
  int32_t output_divides;
};
MM2_HD static inline WeightView view_of(const DeviceMatrix& m) {
  return {m.data, m.output_scale, m.output_divides};
}

MM2_HD static inline float scaled(const WeightView& w, float y) {
  if (w.output_scale == 1.0f) return y;
  return w.output_divides != 0 ? y / w.output_scale : y * w.output_scale;
}

}  // namespace mm2::kernels::cuda
