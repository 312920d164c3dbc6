// Readable kernels for every operation, in the order of additions of kernels/api/ops.h: the bits of
// the CPU's kernels. They are what faster kernels are compared with, and what runs where there is no
// faster one.
#pragma once

#include "kernels/cuda/common/device_ops.h"

namespace mm2::kernels::cuda {

/// Every single operation and nothing else.
const DeviceOps* simple_ops();

/// outputs[i] = h[output_tokens[i]].
cudaError_t gather_outputs(const DeviceStep& step);
/// row_results: kRowNotFinite where a number of h of one of the row's tokens is not finite.
cudaError_t judge_rows(const DeviceStep& step);

namespace simple {

int64_t experts_scratch(const ModelShape& s, int64_t max_tokens);
int64_t router_scratch(const ModelShape& s, int64_t max_tokens);

cudaError_t embed(const DeviceStep&, const DeviceMatrix& table, float* y);
cudaError_t rope_table(const DeviceStep&, float* table);
cudaError_t rms_norm(const DeviceStep&, const float* x, const float* weight, int32_t n_rows,
                     int32_t width, float* y);
cudaError_t linear(const DeviceStep&, const float* x, int32_t n_tokens, const DeviceMatrix& w,
                   const float* add, float* y);
cudaError_t qkv(const DeviceStep&, int32_t layer, const float* x);
cudaError_t attention(const DeviceStep&, int32_t layer, float* y);
cudaError_t router(const DeviceStep&, int32_t layer, const float* x, int32_t* ids, float* weights);
cudaError_t experts(const DeviceStep&, int32_t layer, const float* x, const int32_t* ids,
                    const float* weights, float* h);

/// linear whose rows of y are at a distance of y_stride.
cudaError_t product(const DeviceStep&, const float* x, int32_t n_tokens, const DeviceMatrix& w,
                    const float* add, float* y, int64_t y_stride);

}  // namespace simple
}  // namespace mm2::kernels::cuda
