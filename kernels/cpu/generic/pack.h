#pragma once

#include "kernels/api/types.h"

namespace mm2::kernels::generic {

/// Bytes of a packed matrix (layout.h), -1 where the format is not one of ours or the size does not
/// fit 63 bits.
int64_t packed_bytes(int32_t scheme, int32_t number, int64_t n_out, int64_t n_in);

/// Backend::pack.
void pack(const MatrixRows* rows, void* packed);

}  // namespace mm2::kernels::generic
