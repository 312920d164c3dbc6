#include "kernels/cuda/gemm/gemm_kernel.h"

namespace mm2::kernels::cuda {

template cudaError_t start_gemm<Product<kNvfp4>>(int32_t, bool, int32_t, cudaStream_t,
                                                 const GemmArgs&);
template cudaError_t allow_gemm<Product<kNvfp4>>();
template cudaError_t start_gemm<Product<kMxfp4>>(int32_t, bool, int32_t, cudaStream_t,
                                                 const GemmArgs&);
template cudaError_t allow_gemm<Product<kMxfp4>>();

}  // namespace mm2::kernels::cuda
