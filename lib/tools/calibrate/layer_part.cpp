#include "tools/calibrate/layer_part.h"

#include "attention/attention_block.h"
#include "model/weight_loader.h"
#include "moe/moe_block.h"

namespace mm2 {

Status LayerPart::load(const DescribedWeights& described, const TensorSource& source,
                       const kernels::Backend& backend, int32_t layer,
                       const std::vector<WeightSlot>& slots, Executor& executor, const Host& host) {
  WeightPlan plan;
  // Packed always: a mapped page would count as memory that nobody gives back.
  MM2_RETURN_IF_ERROR(plan_weights(described, source, backend, false, layer, slots, plan));
  Host quiet = host;
  quiet.progress = nullptr;
  std::vector<float> scales;
  MM2_RETURN_IF_ERROR(load_weights(plan, source, backend, executor, quiet, memory_, scales));
  return fill_slots(plan, source, memory_.data(), scales);
}

Result<std::unique_ptr<LayerPart>> LayerPart::load_dense(const DescribedWeights& described,
                                                         const TensorSource& source,
                                                         const kernels::Backend& backend,
                                                         int32_t layer, Executor& executor,
                                                         const Host& host) {
  auto part = std::make_unique<LayerPart>();
  std::vector<WeightSlot> slots;
  append_attention_slots(part->weights, slots);
  append_moe_slots(part->weights, {}, slots);
  MM2_RETURN_IF_ERROR(part->load(described, source, backend, layer, slots, executor, host));
  return part;
}

Result<std::unique_ptr<LayerPart>> LayerPart::load_experts(const DescribedWeights& described,
                                                           const TensorSource& source,
                                                           const kernels::Backend& backend,
                                                           int32_t layer, int32_t first, int32_t n,
                                                           Executor& executor, const Host& host) {
  auto part = std::make_unique<LayerPart>();
  part->experts.resize(static_cast<size_t>(n));
  std::vector<WeightSlot> slots;
  for (int32_t i = 0; i < n; ++i) {
    kernels::ExpertWeights& expert = part->experts[static_cast<size_t>(i)];
    slots.push_back({.role = Role::w1, .expert = first + i, .matrix = &expert.gate});
    slots.push_back({.role = Role::w3, .expert = first + i, .matrix = &expert.up});
    slots.push_back({.role = Role::w2, .expert = first + i, .matrix = &expert.down});
  }
  MM2_RETURN_IF_ERROR(part->load(described, source, backend, layer, slots, executor, host));
  return part;
}

}  // namespace mm2
