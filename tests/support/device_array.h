// Memory of the emulated device that holds copies of numbers of the host.
#pragma once

#include <cuda_runtime_api.h>

#include <cstring>
#include <vector>

#include <catch2/catch.hpp>

namespace support {

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t n, int byte = 0xFF) : n_(n) {
    void* memory = nullptr;
    REQUIRE(cudaMalloc(&memory, n * sizeof(T) + 1) == cudaSuccess);
    memset(memory, byte, n * sizeof(T));
    data_ = static_cast<T*>(memory);
  }
  explicit DeviceArray(const std::vector<T>& from) : DeviceArray(from.size()) {
    if (!from.empty()) memcpy(data_, from.data(), from.size() * sizeof(T));
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* get() const { return data_; }
  size_t size() const { return n_; }
  std::vector<T> copy() const { return std::vector<T>(data_, data_ + n_); }

 private:
  T* data_ = nullptr;
  size_t n_;
};

}  // namespace support
