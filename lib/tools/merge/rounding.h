// The numbers that BF16 arithmetic goes through.
#pragma once

#include "tensor/convert.h"
#include "tools/merge/method.h"

namespace mm2 {

inline float rounded(float value, MergeArithmetic arithmetic) {
  return arithmetic == MergeArithmetic::bf16 ? bf16_to_f32(f32_to_bf16(value)) : value;
}

}  // namespace mm2
