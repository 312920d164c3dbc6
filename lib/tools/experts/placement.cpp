#include "tools/experts/placement.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mm2 {

namespace {

struct Packed {
  std::vector<std::vector<int32_t>> items;  // by pack, in the order they came
  std::vector<double> load;
};

// Heaviest first into the lightest pack with room; every pack gets equally many.
Packed pack(std::span<const double> weights, size_t n_packs) {
  std::vector<int32_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return weights[static_cast<size_t>(a)] > weights[static_cast<size_t>(b)];
  });
  Packed packed;
  packed.items.resize(n_packs);
  packed.load.assign(n_packs, 0);
  const size_t room = weights.size() / n_packs;
  for (const int32_t item : order) {
    size_t best = n_packs;
    for (size_t p = 0; p < n_packs; ++p) {
      if (packed.items[p].size() == room) continue;
      if (best == n_packs || packed.load[p] < packed.load[best]) best = p;
    }
    packed.items[best].push_back(item);
    packed.load[best] += weights[static_cast<size_t>(item)];
  }
  return packed;
}

Placement place_flat(std::span<const double> load, size_t n_slots, size_t n_devices) {
  Placement placement;
  placement.n_copies.assign(load.size(), 1);
  std::vector<int32_t> slots(load.size());
  std::iota(slots.begin(), slots.end(), 0);
  const auto per_copy = [&](size_t e) { return load[e] / placement.n_copies[e]; };
  while (slots.size() < n_slots) {
    size_t best = 0;
    for (size_t e = 1; e < load.size(); ++e) {
      if (per_copy(e) > per_copy(best)) best = e;
    }
    ++placement.n_copies[best];
    slots.push_back(static_cast<int32_t>(best));
  }
  std::vector<double> weights(slots.size());
  for (size_t i = 0; i < slots.size(); ++i) weights[i] = per_copy(static_cast<size_t>(slots[i]));
  Packed packed = pack(weights, n_devices);
  placement.load = std::move(packed.load);
  placement.experts = std::move(packed.items);
  for (std::vector<int32_t>& device : placement.experts) {
    for (int32_t& slot : device) slot = slots[static_cast<size_t>(slot)];
  }
  return placement;
}

Status check(std::span<const double> load, const PlacementShape& shape) {
  const auto n = static_cast<int32_t>(load.size());
  if (n < 1 || shape.n_devices < 1 || shape.n_nodes < 1 || shape.n_groups < 1) {
    return error(Code::invalid_argument, "placement: ", n, " experts on ", shape.n_devices,
                 " devices in ", shape.n_nodes, " nodes, ", shape.n_groups,
                 " groups; wanted is at least one of each");
  }
  if (shape.n_slots < n) {
    return error(Code::invalid_argument, "placement: ", shape.n_slots, " slots for ", n,
                 " experts; wanted is at least one for each");
  }
  if (shape.n_slots % shape.n_devices != 0 || shape.n_devices % shape.n_nodes != 0) {
    return error(Code::invalid_argument, "placement: ", shape.n_slots, " slots on ",
                 shape.n_devices, " devices in ", shape.n_nodes,
                 " nodes; wanted are equally many for each, for ", n, " experts at least ",
                 (n + shape.n_devices - 1) / shape.n_devices * int64_t{shape.n_devices}, " slots");
  }
  if (n % shape.n_groups != 0 || shape.n_groups % shape.n_nodes != 0) {
    return error(Code::invalid_argument, "placement: ", n, " experts in ", shape.n_groups,
                 " groups on ", shape.n_nodes,
                 " nodes; wanted are equal groups and equally many "
                 "of them for each node");
  }
  for (int32_t id = 0; id < n; ++id) {
    const double value = load[static_cast<size_t>(id)];
    if (!(value >= 0) || std::isinf(value)) {
      return error(Code::numeric, "placement: the load of expert ", id, " is ", value);
    }
  }
  return {};
}

}  // namespace

Result<Placement> place_experts(std::span<const double> load, const PlacementShape& shape) {
  MM2_RETURN_IF_ERROR(check(load, shape));
  const auto n_slots = static_cast<size_t>(shape.n_slots);
  const auto n_devices = static_cast<size_t>(shape.n_devices);
  if (shape.n_nodes == 1) return place_flat(load, n_slots, n_devices);

  const auto n_nodes = static_cast<size_t>(shape.n_nodes);
  const size_t group = load.size() / static_cast<size_t>(shape.n_groups);
  std::vector<double> group_load(static_cast<size_t>(shape.n_groups), 0);
  for (size_t e = 0; e < load.size(); ++e) group_load[e / group] += load[e];
  const Packed nodes = pack(group_load, n_nodes);
  Placement placement;
  placement.n_copies.assign(load.size(), 0);
  for (const std::vector<int32_t>& groups : nodes.items) {
    std::vector<int32_t> members;
    std::vector<double> member_load;
    for (const int32_t g : groups) {
      for (size_t e = static_cast<size_t>(g) * group; e < (static_cast<size_t>(g) + 1) * group;
           ++e) {
        members.push_back(static_cast<int32_t>(e));
        member_load.push_back(load[e]);
      }
    }
    Placement inside = place_flat(member_load, n_slots / n_nodes, n_devices / n_nodes);
    for (size_t i = 0; i < members.size(); ++i) {
      placement.n_copies[static_cast<size_t>(members[i])] = inside.n_copies[i];
    }
    for (std::vector<int32_t>& device : inside.experts) {
      for (int32_t& id : device) id = members[static_cast<size_t>(id)];
      placement.experts.push_back(std::move(device));
    }
    placement.load.insert(placement.load.end(), inside.load.begin(), inside.load.end());
  }
  return placement;
}

}  // namespace mm2
