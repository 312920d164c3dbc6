// What recognising a matrix and comparing its parts share.
#pragma once

#include <string>

#include "quant/scheme.h"

namespace mm2 {

/// Whether a set of types (Part::dtypes) has the type.
bool holds(uint32_t dtypes, Dtype dtype);

/// "F32 or F16"
std::string dtype_list(uint32_t dtypes);

/// The tensor of a part, of whatever type, or null.
const TensorInfo* find_part(const WeightPlace& place, const TensorSource& source, const Part& part);

/// `description` holds scheme and parts of a matrix that was recognised; fills in the rest. Fails
/// where parts contradict each other or what is said.
Status settle(const WeightPlace& place, const TensorSource& source, const QuantConfig::Said& said,
              WeightDescription& description);

}  // namespace mm2
