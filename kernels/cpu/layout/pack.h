// Backend::packed_bytes and Backend::pack of this layout, in plain C++.
#pragma once

#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::layout {

int64_t packed_bytes(const Format* format, int64_t n_out, int64_t n_in);
void pack(const MatrixRows* rows, void* packed);

/// The part of pack for plain numbers.
void pack_plain(const MatrixRows& rows, const Blocks& blocks, void* packed);

}  // namespace mm2::kernels::layout
