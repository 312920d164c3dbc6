// Which kernels run a model.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "kernels/api/backend.h"

namespace mm2 {

/// The instruction set that a caller may ask for, numbered as MM2_ISA_* of the C ABI.
enum class Isa : int32_t {
  automatic = 0,
  generic = 1,
  avx2 = 2,
  avx512 = 3,
  reference = 100,
  reference_f64 = 101
};

/// The backend for this machine (automatic) or the one asked for; unsupported when it is not built
/// in.
Result<const kernels::Backend*> choose_backend(Isa isa);

}  // namespace mm2
