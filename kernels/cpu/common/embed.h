#pragma once

#include "kernels/api/numbers.h"
#include "kernels/api/ops.h"

namespace mm2::kernels::common {

static inline void embed(const Executor*, const EmbedArgs<float>* a) {
  const int64_t hidden = a->table->n_in;
  const int64_t size = bytes_of(a->table->format.number);
  for (int64_t t = 0; t < a->n_tokens; ++t) {
    const char* row = static_cast<const char*>(a->table->data) + a->tokens[t] * hidden * size;
    float* y = a->y + t * hidden;
    if (a->table->format.number == kF32) {
      memcpy(y, row, static_cast<size_t>(hidden * size));
      continue;
    }
    const bool is_bf16 = a->table->format.number == kBF16;
    for (int64_t i = 0; i < hidden; ++i) {
      uint16_t code;
      memcpy(&code, row + 2 * i, 2);
      y[i] = is_bf16 ? bf16_to_f32(code) : f16_to_f32(code);
    }
  }
}

}  // namespace mm2::kernels::common
