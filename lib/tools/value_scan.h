// Counting what must not be in a weight: NaN and infinity.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace mm2 {

struct ValueCounts {
  uint64_t n_nan = 0;
  uint64_t n_infinite = 0;
  uint64_t first = UINT64_MAX;  // place of the first of either in what was scanned
};

/// Types whose codes can be NaN or infinite.
bool has_special_values(Dtype dtype);

/// Scans n elements; `data` needs no alignment.
ValueCounts scan_values(Dtype dtype, const void* data, size_t n);

}  // namespace mm2
