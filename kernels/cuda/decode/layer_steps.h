// What the kernels of one layer are told: the arguments of its launches, or what a kernel that stays
// finds in the device's memory. Nothing in it changes while an engine lives.
#pragma once

#include "kernels/cuda/decode/attention_step.h"
#include "kernels/cuda/decode/product_step.h"
#include "kernels/cuda/decode/small_steps.h"

namespace mm2::kernels::cuda {

/// A product and what its kernel is compiled for.
struct Compiled {
  ProductStep step;
  Decoded decoded;
};

struct alignas(16) LayerSteps {
  Compiled qkv, o, gate_up, down;
  AttentionStep attention;
  RouterStep router;
};

}  // namespace mm2::kernels::cuda
