// The read ceiling of a card: every byte of some gigabytes once, nothing written.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

namespace {

constexpr int64_t kBytes = int64_t{8} << 30;
constexpr int kThreads = 512;
constexpr int kRounds = 20;

// Sixteen loads of 16 bytes a thread are under way before the first is used.
__global__ void __launch_bounds__(kThreads)
    read_all(const uint4* from, int64_t n, uint32_t* never) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  uint32_t sum = 0;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += 16 * step) {
    uint4 v[16];
#pragma unroll
    for (int j = 0; j < 16; ++j) {
      v[j] = i + j * step < n ? __ldcs(from + i + j * step) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int j = 0; j < 16; ++j) sum += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  if (sum == 0x9E3779B9u) *never = sum;  // so that the loads are needed
}

__global__ void fill(uint4* to, int64_t n) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += step) {
    const uint32_t x = static_cast<uint32_t>(i * 2654435761u);
    to[i] = make_uint4(x, x ^ 0xA5A5A5A5u, x * 747796405u, ~x);
  }
}

}  // namespace

namespace check {

double read_ceiling(int32_t device_index);

double read_ceiling(int32_t device_index) {
  if (cudaSetDevice(device_index) != cudaSuccess) return 0;
  void* data = nullptr;
  int64_t n_bytes = kBytes;
  while (n_bytes > (int64_t{1} << 28) &&
         cudaMalloc(&data, static_cast<size_t>(n_bytes)) != cudaSuccess) {
    n_bytes /= 2;
  }
  if (data == nullptr) return 0;
  const int64_t n = n_bytes / 16;
  cudaEvent_t begin, end;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  int n_multiprocessors = 1;
  cudaDeviceGetAttribute(&n_multiprocessors, cudaDevAttrMultiProcessorCount, device_index);
  auto* to = static_cast<uint4*>(data);
  const uint4* from = to;
  auto* never = static_cast<uint32_t*>(data);
  int64_t length = n;
  void* fill_arguments[] = {&to, &length};
  void* read_arguments[] = {&from, &length, &never};
  const dim3 grid(static_cast<unsigned>(n_multiprocessors * 4));
  cudaLaunchKernel(reinterpret_cast<const void*>(&fill), grid, dim3(kThreads), fill_arguments, 0,
                   nullptr);
  double best = 0;
  for (int i = 0; i < kRounds; ++i) {
    cudaEventRecord(begin);
    cudaLaunchKernel(reinterpret_cast<const void*>(&read_all), grid, dim3(kThreads), read_arguments,
                     0, nullptr);
    cudaEventRecord(end);
    if (cudaEventSynchronize(end) != cudaSuccess) break;
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    if (ms > 0) best = std::max(best, static_cast<double>(n_bytes) / (ms * 1e-3));
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaFree(data);
  return best;
}

}  // namespace check
