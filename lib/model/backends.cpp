#include "model/backends.h"

namespace mm2 {

Result<const kernels::Backend*> choose_backend(Isa isa) {
  switch (isa) {
    case Isa::automatic:
    case Isa::generic:
      return kernels::generic_backend();
    case Isa::reference:
      return kernels::reference_backend();
    case Isa::reference_f64:
      return kernels::reference_f64_backend();
    case Isa::avx2:
    case Isa::avx512:
      return error(Code::unsupported, "isa ", isa == Isa::avx2 ? "avx2" : "avx512",
                   ": kernels for it are not part of this build; it has generic, reference and "
                   "reference_f64");
  }
  return error(Code::invalid_argument, "isa is ", static_cast<int32_t>(isa),
               ", allowed are the MM2_ISA_* values");
}

}  // namespace mm2
