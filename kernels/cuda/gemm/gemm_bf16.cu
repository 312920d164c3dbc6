#include "kernels/cuda/gemm/gemm_kernel.h"

namespace mm2::kernels::cuda {

template cudaError_t start_gemm<Product<kAsBf16>>(int32_t, bool, int32_t, cudaStream_t,
                                                  const GemmArgs&);
template cudaError_t allow_gemm<Product<kAsBf16>>();

}  // namespace mm2::kernels::cuda
