#include "kernels/cuda/plugin/engine.h"
#include "kernels/cuda/prefill/prefill.h"
#include "kernels/cuda/simple/simple.h"

namespace mm2::kernels::cuda {

// Tables of faster kernels stand before the simple ones here.
Tables tables_of(int32_t kernels) {
  Tables tables{};
  if (kernels == kFast) tables.ops[tables.n++] = fast_ops();
  if (kernels == kResident) tables.ops[tables.n++] = resident_ops();
  tables.ops[tables.n++] = simple_ops();
  return tables;
}

Tables tables_of_model(int32_t kernels, const Device& device, const DeviceWeights& weights,
                       int32_t kv_number) {
  const bool fast = device.has_fast && fast_refuses(weights, kv_number) == nullptr;
  return tables_of(fast ? kernels : int32_t{kSimple});
}

Tables tables_of_step(const Tables& tables, int32_t activations) {
  if (activations == kBF16 || tables.n == 0) return tables;
  Tables simple{};
  simple.n = 1;
  simple.ops[0] = tables.ops[tables.n - 1];
  simple.states[0] = tables.states[tables.n - 1];
  return simple;
}

int64_t launches_of(const Tables& tables, const DeviceStep& step) {
  const DeviceOps& first = *tables.ops[0];
  if (first.launches != nullptr) {
    DeviceStep its = step;
    its.state = tables.states[0];
    return first.launches(its);
  }
  // Embeddings, angles, how rows ended; norm, qkv in four, attention, o, norm, router and experts in
  // two each; rows that want logits, norm, head.
  return 3 + 12 * step.shape().n_layers + (step.n_outputs > 0 ? 3 : 0);
}

}  // namespace mm2::kernels::cuda
