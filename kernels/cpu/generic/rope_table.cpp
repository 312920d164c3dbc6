#include "kernels/cpu/common/rope_table.h"

#include "kernels/cpu/generic/generic.h"

namespace mm2::kernels::generic {

void rope_table(const Executor* run, const RopeTableArgs<float>* a) {
  common::rope_table(run, a);
}

}  // namespace mm2::kernels::generic
