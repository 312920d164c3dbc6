#include "kernels/cuda/gemm/gemm_kernel.h"

namespace mm2::kernels::cuda {

template cudaError_t start_gemm<Product<kInt4Zeros, 1>>(int32_t, bool, int32_t, cudaStream_t,
                                                        const GemmArgs&);
template cudaError_t allow_gemm<Product<kInt4Zeros, 1>>();
template cudaError_t start_gemm<Product<kInt4Zeros, 2>>(int32_t, bool, int32_t, cudaStream_t,
                                                        const GemmArgs&);
template cudaError_t allow_gemm<Product<kInt4Zeros, 2>>();
template cudaError_t start_gemm<Product<kInt4Zeros, 4>>(int32_t, bool, int32_t, cudaStream_t,
                                                        const GemmArgs&);
template cudaError_t allow_gemm<Product<kInt4Zeros, 4>>();

}  // namespace mm2::kernels::cuda
