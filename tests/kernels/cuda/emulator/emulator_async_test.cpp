// Copies that run beside the threads, and the barriers they count at.
#include <cuda_emulator/emulator.h>
#include <catch2/catch.hpp>

#include <numeric>
#include <string>
#include <vector>

#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/common/ptx.h"

using namespace mm2::kernels::cuda;

namespace {

constexpr unsigned kStageBytes = 64 * 4;

/// Device memory with numbers in it.
struct Numbers {
  explicit Numbers(size_t n) {
    void* memory = nullptr;
    REQUIRE(cudaMalloc(&memory, n * 4) == cudaSuccess);
    at = static_cast<int*>(memory);
    std::iota(at, at + n, 0);
  }
  ~Numbers() { cudaFree(at); }
  Numbers(const Numbers&) = delete;
  Numbers& operator=(const Numbers&) = delete;
  int* at;
};

void check_fails(const std::string& words) {
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  CHECK_THAT(cuda_emulator::last_failure(), Catch::Contains(words));
  cuda_emulator::set({});
}

// Warp 0 fetches stages of 64 numbers into two buffers, warps 1 and 2 add them up.
void pipeline(const int* from, int n_stages, int* sums) {
  int* stages = shared_memory<int>();
  auto* full = reinterpret_cast<Mbarrier*>(stages + 128);
  Mbarrier* empty = full + 2;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      mbarrier_init(full + i, 1);
      mbarrier_init(empty + i, 64);
    }
    fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    for (int i = 0; i < n_stages && threadIdx.x == 0; ++i) {
      const unsigned round = static_cast<unsigned>(i / 2);
      mbarrier_wait(empty + i % 2, (round & 1u) ^ 1u);  // passes at once in the first round
      mbarrier_arrive_expect(full + i % 2, kStageBytes);
      bulk_copy(stages + i % 2 * 64, from + i * 64, kStageBytes, full + i % 2);
    }
    return;
  }
  const unsigned at = threadIdx.x - 32;
  int sum = 0;
  for (int i = 0; i < n_stages; ++i) {
    mbarrier_wait(full + i % 2, static_cast<unsigned>(i / 2) & 1u);
    sum += stages[i % 2 * 64 + static_cast<int>(at)];
    mbarrier_arrive(empty + i % 2);
  }
  sums[at] = sum;
  named_sync(1, 64);
}

// 0: waits for what it fetched; 1: reads without waiting, then waits; 2: never waits; 3: not 16s;
// 4: waits for more bytes than come; 5: the barrier was not made
void fetch(const int* from, int* to, int fault) {
  int* stage = shared_memory<int>();
  auto* full = reinterpret_cast<Mbarrier*>(stage + 64);
  if (threadIdx.x == 0) {
    if (fault != 5) mbarrier_init(full, 1);
    fence_mbarrier_init();
    mbarrier_arrive_expect(full, kStageBytes + (fault == 4 ? 16 : 0));
    bulk_copy(stage, from, fault == 3 ? 24 : kStageBytes, full);
  }
  __syncthreads();
  if (fault == 1) to[threadIdx.x] = stage[threadIdx.x];
  __syncthreads();
  if (fault != 2) mbarrier_wait(full, 0);
  if (fault != 1) to[threadIdx.x] = stage[threadIdx.x];
}

void groups(const int* from, int* to, bool waits) {
  int* stage = shared_memory<int>();
  if (threadIdx.x < 16) {
    copy16_or_zero(stage + 4 * threadIdx.x, from + 4 * threadIdx.x, threadIdx.x < 15);
    copy_commit();
    copy16(stage + 64 + 4 * threadIdx.x, from + 64 + 4 * threadIdx.x);
    copy_commit();
    copy_wait<1>();
  }
  __syncthreads();
  to[threadIdx.x] = stage[threadIdx.x];
  if (threadIdx.x < 16 && waits) copy_wait<0>();
  __syncthreads();
  if (waits) to[64 + threadIdx.x] = stage[64 + threadIdx.x];
}

}  // namespace

TEST_CASE("emulator: a ring of bulk copies and mbarriers carries every stage once") {
  for (const auto order : {cuda_emulator::kAscending, cuda_emulator::kDescending}) {
    cuda_emulator::Settings settings;
    settings.order = order;
    cuda_emulator::set(settings);
    for (const int n_stages : {1, 2, 5, 8}) {
      const Numbers from(static_cast<size_t>(n_stages) * 64);
      std::vector<int> sums(64);
      CHECK(launch(pipeline, {1, 96, nullptr, 1024}, from.at, n_stages, sums.data()) ==
            cudaSuccess);
      CHECK(std::string(cuda_emulator::last_failure()) == "");
      for (int i = 0; i < 64; ++i) {
        CHECK(sums[static_cast<size_t>(i)] == n_stages * i + 64 * n_stages * (n_stages - 1) / 2);
      }
    }
  }
  cuda_emulator::set({});
}

TEST_CASE("emulator: who does not wait for a bulk copy does not see it") {
  const Numbers from(64);
  std::vector<int> to(64);
  const Launch how{1, 64, nullptr, 1024};
  CHECK(launch(fetch, how, from.at, to.data(), 0) == cudaSuccess);
  CHECK(to == std::vector<int>(from.at, from.at + 64));
  CHECK(launch(fetch, how, from.at, to.data(), 1) == cudaSuccess);
  CHECK(to == std::vector<int>(64, -1));
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(launch(fetch, how, from.at, to.data(), 2) == cudaSuccess);
  check_fails("nobody waited for");
}

TEST_CASE("emulator: bulk copies and barriers that a device would not take are failures") {
  const Numbers from(64);
  std::vector<int> to(64);
  const Launch how{1, 64, nullptr, 1024};
  CHECK(launch(fetch, how, from.at, to.data(), 3) == cudaSuccess);
  check_fails("24 bytes");
  CHECK(launch(fetch, how, from.at, to.data(), 4) == cudaSuccess);
  check_fails("in a wait for an mbarrier");
  CHECK(launch(fetch, how, from.at, to.data(), 5) == cudaSuccess);
  check_fails("not initialised");
  CHECK(launch(fetch, how, from.at + 1, to.data(), 0) == cudaSuccess);
  check_fails("multiples of 16");
  const std::vector<int> host(64);
  CHECK(launch(fetch, how, host.data(), to.data(), 0) == cudaSuccess);
  check_fails("of one piece of memory");
  CHECK(launch(fetch, {1, 64, nullptr, 128}, from.at, to.data(), 0) == cudaSuccess);
  check_fails("shared memory, which has 128");
}

TEST_CASE("emulator: groups of small copies are there when they are waited for") {
  const Numbers from(128);
  std::vector<int> to(128);
  CHECK(launch(groups, {1, 64, nullptr, 512}, from.at, to.data(), true) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  for (int i = 0; i < 128; ++i) {
    CHECK(to[static_cast<size_t>(i)] == (i >= 60 && i < 64 ? 0 : i));
  }
  CHECK(launch(groups, {1, 64, nullptr, 512}, from.at, to.data(), false) == cudaSuccess);
  check_fails("cp.async");
}
