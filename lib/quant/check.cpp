#include "quant/check.h"

#include "absl/container/flat_hash_set.h"
#include "quant/coded_matrix.h"
#include "quant/scales.h"

namespace mm2 {
namespace {

constexpr size_t kNamed = 50;

Status missing_error(const std::vector<const WeightPlace*>& missing, const TensorSource& source) {
  std::string names;
  for (size_t i = 0; i < missing.size() && i < kNamed; ++i) {
    names += join(i == 0 ? "" : ", ", missing[i]->name);
  }
  if (missing.size() > kNamed) names += join(" and ", missing.size() - kNamed, " more");
  return error(Code::format, source.name(), source.name().empty() ? "" : ": ",
               missing.size() == 1 ? "1 tensor is" : join(missing.size(), " tensors are"),
               " missing: ", names);
}

}  // namespace

Result<WeightCheck> check_weights(std::span<const WeightPlace> places, const TensorSource& source,
                                  const QuantConfig& config, WeightCheckOptions options) {
  WeightCheck check;
  std::vector<const WeightPlace*> missing;
  for (const WeightPlace& place : places) {
    if (!place.found) missing.push_back(&place);
  }
  if (!missing.empty()) return missing_error(missing, source);

  Status not_executable;
  int64_t n_said_plain = 0;
  absl::flat_hash_set<const TensorInfo*> used;
  check.descriptions.reserve(places.size());
  for (const WeightPlace& place : places) {
    MM2_ASSIGN_OR_RETURN(WeightDescription description, describe_weight(place, source, config));
    if (not_executable.ok()) not_executable = check_executable(place, description, source);
    if (description.said_plain && n_said_plain++ == 0) {
      check.remarks.push_back(join(config.about(place).by, " keeps it plain, but ",
                                   description.codes().name, " is ", description.to_string()));
    }
    for (const TensorInfo* part : description.parts) {
      if (part != nullptr) used.insert(part);
    }
    check.descriptions.push_back(description);
  }
  if (n_said_plain > 1) check.remarks.back() += join(", and ", n_said_plain - 1, " more like it");
  if (options.scales) {
    for (const WeightDescription& description : check.descriptions) {
      MM2_RETURN_IF_ERROR(check_scales(description, source));
    }
  }
  if (options.executable && !not_executable.ok()) return not_executable;
  for (const TensorInfo& tensor : source.tensors()) {
    if (!used.contains(&tensor)) check.unused.push_back(tensor.name);
  }
  return check;
}

}  // namespace mm2
