// Weights, memory and time for benchmarks that start the kernels of the plug-in themselves.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/api/numbers.h"
#include "kernels/cuda/common/device_ops.h"

namespace check {

using namespace mm2::kernels;
namespace cuda = mm2::kernels::cuda;

inline void must(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorName(error));
  }
}

/// Device memory with an owner.
class Bytes {
 public:
  explicit Bytes(int64_t n) {
    must(cudaMalloc(&data_, static_cast<size_t>(std::max<int64_t>(n, 256))), "device memory");
  }
  ~Bytes() { (void)cudaFree(data_); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  void fill(const void* from, int64_t n, int64_t at = 0) const {
    must(cudaMemcpy(as<char>() + at, from, static_cast<size_t>(n), cudaMemcpyHostToDevice),
         "copying");
  }

 private:
  void* data_ = nullptr;
};

// Packed rows of random codes; what scales them is one number throughout. Made here, not packed: the
// layout says where codes end.
inline std::vector<char> packed_block(const cuda::WeightLayout& l, std::mt19937& random) {
  std::vector<char> block(static_cast<size_t>(l.block_bytes));
  if (l.codes == cuda::kFloats) {
    std::normal_distribution<float> normal(0.0f, 0.02f);
    for (size_t i = 0; i + 4 <= block.size(); i += 4) {
      const float number = normal(random);
      std::memcpy(&block[i], &number, 4);
    }
    return block;
  }
  const bool is_plain_bf16 = l.codes == cuda::kHalves;
  const uint32_t mask = l.format.scheme == kFp8 ? 0xBFBFBFBFu : 0xFFFFFFFFu;  // never NaN
  const float scale = l.format.number == kE4M3 ? 0.25f : 0.01f;
  for (int64_t r = 0; r < l.n_records; ++r) {
    char* const record = block.data() + r * l.record_bytes;
    for (int32_t i = 0; i < l.scales; i += 4) {
      uint32_t word = static_cast<uint32_t>(random()) & mask;
      if (is_plain_bf16) word = (word & 0x807F807Fu) | 0x3C803C80u;  // 1/64 to 1/32
      std::memcpy(record + i, &word, 4);
    }
    const uint16_t half = f32_to_bf16(scale);
    for (int32_t i = l.scales; i < l.zeros; ++i) {
      const int32_t width = l.scale == kF32 ? 4 : l.scale == kBF16 ? 2 : 1;
      const int32_t byte = (i - l.scales) % width;
      record[i] = width == 4   ? reinterpret_cast<const char*>(&scale)[byte]
                  : width == 2 ? reinterpret_cast<const char*>(&half)[byte]
                               : '\x28';  // 1/4 in E4M3
    }
  }
  return block;
}

/// A matrix in device memory of its own.
struct Weights {
  cuda::WeightLayout layout;
  std::unique_ptr<Bytes> data;

  Weights(const Format& f, int64_t n_out, int64_t n_in, std::mt19937& random)
      : layout(cuda::layout_of(f, n_out, n_in)), data(std::make_unique<Bytes>(layout.bytes)) {
    const std::vector<char> block = packed_block(layout, random);
    for (int64_t b = 0; b < layout.n_blocks; ++b) {
      data->fill(block.data(), layout.block_bytes, b * layout.block_bytes);
    }
  }
  cuda::DeviceMatrix matrix() const { return {layout, data->as<char>(), 1.0f, 0}; }
};

inline std::vector<float> random_floats(int64_t n, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = normal(random);
  return v;
}

/// Bytes that runs go over before any are read again: the second-level cache holds 50 MiB.
constexpr int64_t kBytesInTurns = int64_t{256} << 20;

/// Seconds of one of many runs back to back: run(i) is the i-th.
template <typename F>
double time_of(const F& run, bool is_short, cudaStream_t stream = nullptr) {
  using Clock = std::chrono::steady_clock;
  int64_t turn = 0;
  const auto runs = [&](int n) {
    const auto begin = Clock::now();
    for (int i = 0; i < n; ++i) must(run(turn++), "starting a product");
    must(cudaStreamSynchronize(stream), "a product");
    return std::chrono::duration<double>(Clock::now() - begin).count() / n;
  };
  if (is_short) return runs(1);
  const double first = runs(3);
  const int n = static_cast<int>(std::clamp(0.05 / std::max(first, 1e-6), 5.0, 500.0));
  return std::min({runs(n), runs(n), runs(n)});
}

}  // namespace check
