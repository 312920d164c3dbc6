#include "kernels/cpu/common/rms_norm.h"

#include "kernels/cpu/avx2/avx2.h"

namespace mm2::kernels::avx2 {

void rms_norm(const Executor* run, const RmsNormArgs<float>* a) {
  common::rms_norm(run, a);
}

}  // namespace mm2::kernels::avx2
