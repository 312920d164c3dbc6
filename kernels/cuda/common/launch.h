// How host code starts a kernel, and how a kernel gets its shared memory: the same source for nvcc
// and for the emulator that the tests run kernels on.
#pragma once

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

#if defined(MM2_CUDA_EMULATED)
#include <tuple>
#endif

namespace mm2::kernels::cuda {

struct Launch {
  dim3 grid, block;
  cudaStream_t stream = nullptr;
  size_t shared_bytes = 0;   // dynamic; above kSharedWithoutAsking allow_shared comes first
  bool cooperative = false;  // all blocks run at once
  bool overlaps = false;     // may start before the kernel before it ends (ptx.h: grid_wait)
};

constexpr size_t kSharedWithoutAsking = 48 << 10;

/// What a launch of more dynamic shared memory needs once for each kernel and device.
template <typename... Params>
inline cudaError_t allow_shared(void (*kernel)(Params...), size_t n_bytes) {
#if defined(MM2_CUDA_EMULATED)
  (void)kernel;
  return n_bytes > 232448 ? cudaErrorInvalidValue : cudaSuccess;
#else
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                              cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(n_bytes));
#endif
}

/// Which devices a room's kernels are compiled for (cmake/cuda.cmake): those that the plug-in is built for,
/// or 9.0 alone, whose instructions they use.
enum class BuiltFor { kAll, kHopper };

/// cudaErrorNoKernelImageForDevice where the kernel was not compiled for the current device.
/// `built_for`: what an emulator cannot see.
template <typename... Params>
inline cudaError_t has_code(void (*kernel)(Params...), BuiltFor built_for) {
#if defined(MM2_CUDA_EMULATED)
  (void)kernel;
  return static_cast<cudaError_t>(cuda_emulator::device_has_code(built_for == BuiltFor::kAll));
#else
  (void)built_for;
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel));
#endif
}

/// Blocks of so many threads and so much dynamic shared memory that a multiprocessor of the current device
/// holds at once: what a cooperative launch may have on each.
template <typename... Params>
inline cudaError_t blocks_that_stay(void (*kernel)(Params...), unsigned n_threads, size_t n_bytes,
                                    int* n_blocks) {
#if defined(MM2_CUDA_EMULATED)
  (void)kernel;
  *n_blocks = cuda_emulator::blocks_per_multiprocessor(n_threads, n_bytes);
  return cudaSuccess;
#else
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      n_blocks, reinterpret_cast<const void*>(kernel), static_cast<int>(n_threads), n_bytes);
#endif
}

/// Starts the kernel. What goes wrong inside it shows when somebody waits for the stream.
template <typename... Params, typename... Args>
inline cudaError_t launch(void (*kernel)(Params...), const Launch& l, Args... args) {
#if defined(MM2_CUDA_EMULATED)
  const cuda_emulator::LaunchConfig config{{l.grid.x, l.grid.y, l.grid.z},
                                           {l.block.x, l.block.y, l.block.z},
                                           l.shared_bytes,
                                           l.stream,
                                           l.cooperative};
  const std::tuple<Params...> copies(static_cast<Params>(args)...);
  return static_cast<cudaError_t>(
      cuda_emulator::launch(config, [kernel, copies] { std::apply(kernel, copies); }));
#else
  cudaLaunchConfig_t config{};
  cudaLaunchAttribute attributes[2];
  config.gridDim = l.grid;
  config.blockDim = l.block;
  config.dynamicSmemBytes = l.shared_bytes;
  config.stream = l.stream;
  config.attrs = attributes;
  if (l.cooperative) {
    attributes[config.numAttrs].id = cudaLaunchAttributeCooperative;
    attributes[config.numAttrs++].val.cooperative = 1;
  }
  if (l.overlaps) {
    attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
  }
  return cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
#endif
}

/// The block's dynamic shared memory, aligned to 1024 bytes.
template <typename T>
__device__ inline T* shared_memory() {
#if defined(MM2_CUDA_EMULATED)
  return static_cast<T*>(cuda_emulator::shared_memory());
#else
  extern __shared__ __align__(1024) unsigned char mm2_shared_memory[];
  return reinterpret_cast<T*>(mm2_shared_memory);
#endif
}

/// Blocks of `each` that hold n.
__host__ __device__ inline unsigned n_groups(int64_t n, int64_t each) {
  return static_cast<unsigned>((n + each - 1) / each);
}

}  // namespace mm2::kernels::cuda
