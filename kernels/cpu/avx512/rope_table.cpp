#include "kernels/cpu/common/rope_table.h"

#include "kernels/cpu/avx512/avx512.h"

namespace mm2::kernels::avx512 {

void rope_table(const Executor* run, const RopeTableArgs<float>* a) {
  common::rope_table(run, a);
}

}  // namespace mm2::kernels::avx512
