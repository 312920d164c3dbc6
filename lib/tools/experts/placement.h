// Which expert runs where when experts are spread over devices, the busy ones several times (the
// greedy rules known as EPLB).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace mm2 {

struct PlacementShape {
  int32_t n_slots = 0;  // experts and their copies, over all devices
  int32_t n_devices = 0;
  /// More than one node: groups of n_experts / n_groups neighbours stay on one node, and copies are
  /// made inside a node.
  int32_t n_groups = 1;
  int32_t n_nodes = 1;
};

struct Placement {
  std::vector<std::vector<int32_t>> experts;  // [n_devices][n_slots / n_devices], in slot order
  std::vector<int32_t> n_copies;              // [n_experts]
  std::vector<double> load;                   // [n_devices]; copies share an expert's load equally
};

/// Every further slot goes to the expert of largest load per copy (equal: the smaller id); then the
/// heaviest copy goes to the lightest device that has room (equal: the one made first, the first
/// device). Code::invalid_argument: fewer slots than experts, slots that the devices cannot share
/// equally (nodes likewise), groups that do not divide the experts; Code::numeric: a load that is
/// negative or not finite.
Result<Placement> place_experts(std::span<const double> load,  // [n_experts]
                                const PlacementShape& shape);

}  // namespace mm2
