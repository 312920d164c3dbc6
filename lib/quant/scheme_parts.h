// What recognising a matrix, comparing its parts and writing them share.
#pragma once

#include <string>

#include "quant/scheme.h"

namespace mm2 {

/// Whether a set of types (Part::dtypes) has the type.
bool holds(uint32_t dtypes, Dtype dtype);

/// "F32 or F16"
std::string dtype_list(uint32_t dtypes);

/// What the extents of parts are computed from.
struct PartSizes {
  int64_t rows, cols;
  int64_t bits = 4;
  int64_t group = 1;
  int64_t block_rows = 1, block_cols = 1;
};

Shape part_shape(const Part& part, const PartSizes& sizes);

/// The tensor of a part, of whatever type, or null.
const TensorInfo* find_part(const WeightPlace& place, const TensorSource& source, const Part& part);

/// `description` holds scheme and parts of a matrix that was recognised; fills in the rest. Fails
/// where parts contradict each other or what is said.
Status settle(const WeightPlace& place, const TensorSource& source, const QuantConfig::Said& said,
              WeightDescription& description);

}  // namespace mm2
