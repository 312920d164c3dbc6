// From stored parts to what kernels pack: codes of one byte each, F32 scales, zeros, column order.
#pragma once

#include "quant/coded_matrix.h"

namespace mm2 {

/// What decoders met that is odd and changes nothing. Any number of threads may count.
struct DecodeNotes {
  // symmetric GPTQ codes whose stored zeros follow the other convention (v2 under the name of v1, or
  // v1 under that of v2)
  std::atomic<int64_t> n_other_zeros{0};
};

/// Bytes that decode takes for n_rows.
uint64_t staged_bytes(const CodedMatrix& m, int64_t n_rows);

/// Decodes rows [first_row, first_row + n_rows) of the matrix, first_row a multiple of 8, all of them
/// among those of `raw`, into `memory`, 64-byte aligned; `rows` then points there or into `raw`. Code::format names
/// tensor, place and value of what must not be: a scale that breaks the rule of quant/scales.h,
/// NaN as a code, a zero that contradicts the configuration. code_layouts: those of codes that may stay
/// as they are stored (kernels::Backend::code_layouts), where rows come in multiples of 64.
Status decode(const CodedMatrix& m, const TensorSource& source, const RawParts& raw,
              int64_t first_row, int64_t n_rows, std::byte* memory, kernels::MatrixRows& rows,
              DecodeNotes& notes, int32_t code_layouts = 0);

}  // namespace mm2
