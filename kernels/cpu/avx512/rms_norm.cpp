#include "kernels/cpu/common/rms_norm.h"

#include "kernels/cpu/avx512/avx512.h"

namespace mm2::kernels::avx512 {

void rms_norm(const Executor* run, const RmsNormArgs<float>* a) {
  common::rms_norm(run, a);
}

}  // namespace mm2::kernels::avx512
