// Where a loaded weight goes: a block of the model lists its slots, the loader fills them.
#pragma once

#include <vector>

#include "kernels/api/types.h"
#include "tensor/role.h"

namespace mm2 {

struct WeightSlot {
  Role role = Role::embedding;
  int32_t expert = -1;
  // Exactly one of the two is set.
  kernels::Matrix* matrix = nullptr;  // packed by the backend
  const float** vector = nullptr;     // widened to F32
  bool as_f32 = false;                // a matrix that is used in F32 whatever it is stored as
  bool rows_gathered = false;  // a matrix whose rows are looked up, so it keeps the file's layout
};

}  // namespace mm2
