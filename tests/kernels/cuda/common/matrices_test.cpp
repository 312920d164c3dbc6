// Runs on the emulator.
#include "kernels/cuda/common/ptx_matrices.h"

#include <catch2/catch.hpp>
#include <vector>

#include "cuda_emulator/emulator.h"
#include "kernels/cuda/common/launch.h"

namespace mm2::kernels::cuda {
namespace {

/// Number 100 m + 10 row + column at that place of matrix m; column j of it at 16 bytes 8 m + j, or where
/// `swapped` says.
void store(uint16_t* to, int swapped) {
  const uint32_t lane = threadIdx.x % 32;
  uint32_t pairs[4];
  for (uint32_t m = 0; m < 4; ++m) {
    const uint32_t first = 100 * m + 10 * (lane / 4) + lane % 4 * 2;
    pairs[m] = first | (first + 1) << 16;
  }
  auto* shared = shared_memory<uint16_t>();
  store_transposed(shared + (lane ^ static_cast<uint32_t>(swapped)) * 8, pairs);
  __syncthreads();
  for (uint32_t i = lane; i < 256; i += 32) to[i] = shared[i];
}

std::vector<int> stored(int swapped) {
  std::vector<uint16_t> got(256);
  REQUIRE(launch(store, {1, 32, nullptr, 512}, got.data(), swapped) == cudaSuccess);
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  return {got.begin(), got.end()};
}

}  // namespace

TEST_CASE("cuda matrices: four of a warp's registers are stored by columns, where each lane says") {
  for (const int swapped : {0, 13}) {
    std::vector<int> want;
    for (int at = 0; at < 32; ++at) {
      const int column = at ^ swapped;
      for (int row = 0; row < 8; ++row) want.push_back(100 * (column / 8) + 10 * row + column % 8);
    }
    CHECK(stored(swapped) == want);
  }
}

}  // namespace mm2::kernels::cuda
