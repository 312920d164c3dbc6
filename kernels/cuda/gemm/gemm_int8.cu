#include "kernels/cuda/gemm/gemm_kernel.h"

namespace mm2::kernels::cuda {

template cudaError_t start_gemm<Product<kInt8>>(int32_t, bool, int32_t, cudaStream_t,
                                                const GemmArgs&);
template cudaError_t allow_gemm<Product<kInt8>>();
template cudaError_t start_gemm<Product<kInt8Zeros>>(int32_t, bool, int32_t, cudaStream_t,
                                                     const GemmArgs&);
template cudaError_t allow_gemm<Product<kInt8Zeros>>();

}  // namespace mm2::kernels::cuda
