// Backend::packed_bytes and Backend::pack of this layout, in plain C++.
#pragma once

#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::layout {

int64_t packed_bytes(const Format* format, int64_t n_out, int64_t n_in);
void pack(const MatrixRows* rows, void* packed);

/// The parts of pack, for instruction sets that do the bulk of it themselves.
///
/// Of the 64 rows from row0 of `rows` on, which fill `block`: records from `first` on and all that
/// lies behind them. Rows that are not there are padding; then `first` must be 0.
void pack_block(const MatrixRows& rows, const Blocks& blocks, int64_t row0, int64_t first,
                char* block);
void pack_plain(const MatrixRows& rows, const Blocks& blocks, int64_t row0, int64_t first,
                char* block);
/// What lies behind the last block, once for all rows.
void pack_order(const MatrixRows& rows, const Blocks& blocks, void* packed);

}  // namespace mm2::kernels::layout
