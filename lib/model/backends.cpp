#include "model/backends.h"

#include "kernels/api/cpu_features.h"

namespace mm2 {
namespace {

#if defined(__x86_64__)
constexpr bool kHasX86Kernels = true;
const kernels::Backend* avx2() {
  return kernels::avx2_backend();
}
const kernels::Backend* avx512() {
  return kernels::multiplies_pairs_fast() ? kernels::avx512_pairs_backend()
                                          : kernels::avx512_backend();
}
#else
constexpr bool kHasX86Kernels = false;
const kernels::Backend* avx2() {
  return nullptr;
}
const kernels::Backend* avx512() {
  return nullptr;
}
#endif

Status lacks(const char* isa) {
  return error(Code::unsupported, "isa ", isa, ": ",
               kHasX86Kernels ? "this processor has not all the instructions that its kernels use"
                              : "this build has no kernels for it");
}

}  // namespace

Result<const kernels::Backend*> choose_backend(Isa isa) {
  switch (isa) {
    case Isa::automatic:
      if (kernels::has_avx512()) return avx512();
      return kernels::has_avx2() ? avx2() : kernels::generic_backend();
    case Isa::generic:
      return kernels::generic_backend();
    case Isa::reference:
      return kernels::reference_backend();
    case Isa::reference_f64:
      return kernels::reference_f64_backend();
    case Isa::avx2:
      if (!kernels::has_avx2()) return lacks("avx2");
      return avx2();
    case Isa::avx512:
      if (!kernels::has_avx512()) return lacks("avx512");
      return avx512();
  }
  return error(Code::invalid_argument, "isa is ", static_cast<int32_t>(isa),
               ", allowed are the MM2_ISA_* values");
}

}  // namespace mm2
