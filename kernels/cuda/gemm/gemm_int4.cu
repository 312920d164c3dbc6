#include "kernels/cuda/gemm/gemm_kernel.h"

namespace mm2::kernels::cuda {

template cudaError_t start_gemm<Product<kInt4, 1>>(int32_t, bool, int32_t, cudaStream_t,
                                                   const GemmArgs&);
template cudaError_t allow_gemm<Product<kInt4, 1>>();
template cudaError_t start_gemm<Product<kInt4, 2>>(int32_t, bool, int32_t, cudaStream_t,
                                                   const GemmArgs&);
template cudaError_t allow_gemm<Product<kInt4, 2>>();
template cudaError_t start_gemm<Product<kInt4, 4>>(int32_t, bool, int32_t, cudaStream_t,
                                                   const GemmArgs&);
template cudaError_t allow_gemm<Product<kInt4, 4>>();

}  // namespace mm2::kernels::cuda
