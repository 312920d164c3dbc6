// A whole checkpoint against what its configuration asks for.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/scheme.h"

namespace mm2 {

struct WeightCheck {
  std::vector<WeightDescription> descriptions;  // as places
  std::vector<std::string_view> unused;  // tensors that no weight is made of, in the source's order
  // contradictions with the configuration that are known to happen and change nothing, for the log
  std::vector<std::string> remarks;
};

struct WeightCheckOptions {
  bool executable = true;  // refuse what no kernel can take
  bool scales = true;      // read all scales and refuse those that quant/scales.h does
};

/// Describes every weight. Fails with, in this order: all that are missing (up to 50 by name, and
/// their number), the first that has a wrong type or shape, the first bad scale, the first scheme
/// that cannot be executed. `places`: format/names.h, locate_all.
Result<WeightCheck> check_weights(std::span<const WeightPlace> places, const TensorSource& source,
                                  const QuantConfig& config, WeightCheckOptions options = {});

}  // namespace mm2
