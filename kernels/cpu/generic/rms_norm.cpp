#include "kernels/cpu/common/rms_norm.h"

#include "kernels/cpu/generic/generic.h"

namespace mm2::kernels::generic {

void rms_norm(const Executor* run, const RmsNormArgs<float>* a) {
  common::rms_norm(run, a);
}

}  // namespace mm2::kernels::generic
