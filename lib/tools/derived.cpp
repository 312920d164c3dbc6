#include "tools/derived.h"

namespace mm2 {
namespace {

constexpr std::string_view kWeight = ".weight";

}  // namespace

std::string module_name(const ViewWeight& weight) {
  const std::string& name = weight.place.name;
  return name.ends_with(kWeight) ? name.substr(0, name.size() - kWeight.size()) : name;
}

bool is_tied(const CheckpointView& view, const ViewWeight& weight) {
  return weight.place.role == Role::lm_head && view.config().tie_word_embeddings &&
         weight.description.codes().name != weight.place.name;
}

Status carry_over(const CheckpointView& view, const ViewWeight& weight, WritePlan& plan,
                  const std::string& as) {
  const std::string module = as.empty() ? module_name(weight) : as;
  const bool has_suffix = weight.place.name.ends_with(kWeight);
  if (weight.description.is_plain()) {
    MM2_ASSIGN_OR_RETURN(const PlainSlice slice,
                         plain_slice(weight.place, weight.description, view.source()));
    const uint32_t to =
        plan.add(has_suffix ? join(module, kWeight) : module, slice.dtype, weight.place.shape);
    plan.copy_range(view.source(), *slice.tensor, slice.from, slice.bytes, to, 0);
    return {};
  }
  if (weight.place.stored.n_rows() > weight.place.n_rows()) {
    return error(Code::unsupported, file_and_name(view.source(), weight.description.codes()),
                 ": rows of a fused quantised tensor cannot be carried over one matrix at a time");
  }
  for (size_t i = 0; i < weight.description.scheme->parts.size(); ++i) {
    const TensorInfo* part = weight.description.parts[i];
    if (part == nullptr) continue;
    const std::string suffix(weight.description.scheme->parts[i].suffix);
    plan.copy(view.source(), *part, plan.add(module + suffix, part->dtype, part->shape));
  }
  return {};
}

void carry_over(const CheckpointView& view, const TensorInfo& tensor, WritePlan& plan) {
  plan.copy(view.source(), tensor, plan.add(tensor.name, tensor.dtype, tensor.shape));
}

}  // namespace mm2
