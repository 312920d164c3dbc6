// What the handles of include/mm2/experimental/kernels.h are.
#pragma once

#include <memory>

#include "base/executor.h"
#include "kernels/api/backend.h"
#include "mm2/experimental/kernels.h"
#include "tensor/buffer.h"

struct mm2x_kernels {
  const mm2::kernels::Backend* backend;
  std::shared_ptr<mm2::Executor> executor;
  mm2::Buffer scratch;  // grows as calls need it
};

struct mm2x_matrix {
  mm2::kernels::Matrix matrix;
  const mm2::kernels::Backend* backend;
  mm2::Buffer packed;
};

namespace mm2::capi {

constexpr int64_t kMostTokens = 1 << 20;
constexpr int64_t kMostWidth = 1 << 20;

/// The team of a handle, as kernels call it.
kernels::Executor executor_of(const mm2x_kernels& kernels);

/// Room for any operation of this shape on so many tokens, kept in the handle.
Result<void*> scratch_for(mm2x_kernels* kernels, const kernels::ModelShape& shape,
                          int64_t n_tokens);

/// MM2_ACTIVATIONS_* as kernels count them.
Result<int32_t> read_activations(int32_t activations);

/// invalid_argument unless the matrix is there and was packed for this backend.
Status need_matrix(const mm2x_kernels& kernels, const mm2x_matrix* matrix, const char* name);

/// invalid_argument unless n elements of F32 lie there and their bytes can be counted.
Status need_floats(const void* data, int64_t rows, int64_t width, const char* name);

/// invalid_argument unless every id lies in [0, end).
Status check_ids(const int32_t* ids, int64_t n, int64_t end, const char* name);

Status check_matrix_shape(const mm2x_matrix& m, int64_t n_out, int64_t n_in, const char* name);

/// Widths of one operation, all others 1 or as small as kernels take them.
kernels::ModelShape shape_of_width(int64_t hidden);

}  // namespace mm2::capi
