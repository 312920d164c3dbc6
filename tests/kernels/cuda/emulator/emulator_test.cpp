// The emulator itself: what a device promises holds here, what a device leaves undefined is refused.
#include <cuda_emulator/emulator.h>
#include <catch2/catch.hpp>

#include <numeric>
#include <string>
#include <vector>

#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/common/ptx.h"

using namespace mm2::kernels::cuda;
using cuda_emulator::Settings;

namespace {

/// Both orders of threads; the emulator as new.
template <typename F>
void in_both_orders(F test) {
  for (const auto order : {cuda_emulator::kAscending, cuda_emulator::kDescending}) {
    Settings settings;
    settings.order = order;
    cuda_emulator::set(settings);
    test();
    CHECK(std::string(cuda_emulator::last_failure()) == "");
  }
  cuda_emulator::set({});
}

/// The launch must fail, and say so with these words.
void check_fails(const std::string& words) {
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  CHECK_THAT(cuda_emulator::last_failure(), Catch::Contains(words));
  cuda_emulator::set({});
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

void fill_numbers(float* values, int64_t n, float value) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += step) {
    values[i] = value;
  }
}

cudaError_t fill(float* values, int64_t n, float value, cudaStream_t stream) {
  return launch(fill_numbers, {2, 128, stream}, values, n, value);
}

void reverse(const int* from, int* to) {
  int* shared = shared_memory<int>();
  shared[threadIdx.x] = from[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  to[blockIdx.x * blockDim.x + threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

void without_barrier(int* to) {
  int* shared = shared_memory<int>();
  shared[threadIdx.x] = 7;
  to[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

void sums_of_warps(int* to) {
  int value = static_cast<int>(threadIdx.x);
  for (int i = 16; i > 0; i /= 2) value += __shfl_xor_sync(~0u, value, i);
  to[threadIdx.x] = value;
}

void shuffles(int* to) {
  const int lane = static_cast<int>(threadIdx.x);
  int* row = to + 6 * lane;
  row[0] = __shfl_up_sync(~0u, lane, 3);
  row[1] = __shfl_down_sync(~0u, lane, 3, 8);
  row[2] = __shfl_sync(~0u, lane, 5, 16);
  row[3] = static_cast<int>(__ballot_sync(~0u, lane % 3 == 0));
  row[4] = __reduce_max_sync(~0u, lane == 9 ? -1 : -lane - 2);
  row[5] = __syncthreads_count(lane < 5);
}

// Halves of a warp go different ways, then meet.
void divergent(int* to) {
  const int lane = static_cast<int>(threadIdx.x);
  int value = 0;
  if (lane < 16) {
    for (int i = 0; i <= lane % 2; ++i) value += 1;
    value = __shfl_sync(0x0000FFFFu, lane + value, 15);
  } else {
    value = __shfl_sync(0xFFFF0000u, lane, 31);
  }
  to[lane] = __shfl_sync(~0u, value, lane ^ 16);
}

void thread_0_stays_away(int* to) {
  if (threadIdx.x != 0) named_sync(1, blockDim.x);
  to[threadIdx.x] = 1;
}

void some_leave_early(int* to) {
  if (threadIdx.x % 2 == 0) return;
  __syncthreads();
  to[threadIdx.x] = 1;
}

void different_operations() {
  if (threadIdx.x % 2 == 0) {
    __syncwarp();
  } else {
    __shfl_sync(~0u, 1, 0);
  }
}

void lane_outside_mask(int* to) {
  if (threadIdx.x < 4) to[threadIdx.x] = __shfl_sync(0xFu, 1, 7);
}

void lane_is_gone() {
  if (threadIdx.x != 0) __syncwarp();
}

[[maybe_unused]] void writes_behind(const int* to) {
  shared_memory<char>()[*to] = 1;
}

void spins(const uint32_t* flag) {
  while (load_acquire(flag) == 0) {
  }
}

// Each block counts in each turn; all see all counts.
void turns(uint32_t* counter, int* counts, int* seen) {
  for (uint32_t turn = 0; turn < 3; ++turn) {
    if (threadIdx.x == 0) counts[blockIdx.x] += 1;
    grid_barrier(counter, turn);
    if (threadIdx.x == 0) {
      for (unsigned i = 0; i < gridDim.x; ++i) seen[blockIdx.x] += counts[i];
    }
    grid_barrier(counter + 1, turn);
  }
}

}  // namespace

TEST_CASE("emulator: threads and blocks have their indices") {
  in_both_orders([] {
    std::vector<float> values(1000, 0.0f);
    CHECK(fill(values.data(), 999, 2.5f, nullptr) == cudaSuccess);
    CHECK(std::vector<float>(values.begin(), values.end() - 1) == std::vector<float>(999, 2.5f));
    CHECK(values[999] == 0.0f);
  });
}

TEST_CASE("emulator: a barrier makes writes of the block visible, in either order of threads") {
  in_both_orders([] {
    std::vector<int> from(192), to(192);
    std::iota(from.begin(), from.end(), 0);
    CHECK(launch(reverse, {3, 64, nullptr, 256}, from.data(), to.data()) == cudaSuccess);
    for (int i = 0; i < 192; ++i) CHECK(to[i] == i / 64 * 64 + 63 - i % 64);
  });
}

TEST_CASE("emulator: a missing barrier shows in one of the orders") {
  bool shown = false;
  in_both_orders([&] {
    std::vector<int> to(64);
    CHECK(launch(without_barrier, {1, 64, nullptr, 256}, to.data()) == cudaSuccess);
    shown |= to != std::vector<int>(64, 7);
  });
  CHECK(shown);
}

TEST_CASE("emulator: shuffles, votes and reductions of a warp") {
  in_both_orders([] {
    std::vector<int> sums(96);
    CHECK(launch(sums_of_warps, {1, 96}, sums.data()) == cudaSuccess);
    for (int i = 0; i < 96; ++i) CHECK(sums[i] == 496 + i / 32 * 1024);
    std::vector<int> rows(32 * 6);
    CHECK(launch(shuffles, {1, 32}, rows.data()) == cudaSuccess);
    for (int lane = 0; lane < 32; ++lane) {
      const int* row = rows.data() + 6 * lane;
      CHECK(row[0] == (lane < 3 ? lane : lane - 3));
      CHECK(row[1] == (lane % 8 + 3 > 7 ? lane : lane + 3));
      CHECK(row[2] == lane / 16 * 16 + 5);
      CHECK(static_cast<unsigned>(row[3]) == 0x49249249u);
      CHECK(row[4] == -1);
      CHECK(row[5] == 5);
    }
  });
}

TEST_CASE("emulator: parts of a warp that went different ways meet again") {
  in_both_orders([] {
    std::vector<int> to(32);
    CHECK(launch(divergent, {1, 32}, to.data()) == cudaSuccess);
    for (int lane = 0; lane < 32; ++lane) CHECK(to[lane] == (lane < 16 ? 31 : 17));
  });
}

TEST_CASE("emulator: who has left is not waited for at the barrier of the block") {
  in_both_orders([] {
    std::vector<int> to(64);
    CHECK(launch(some_leave_early, {1, 64}, to.data()) == cudaSuccess);
    for (int i = 0; i < 64; ++i) CHECK(to[i] == i % 2);
  });
}

TEST_CASE("emulator: threads that wait for each other are a failure, not a hang") {
  std::vector<int> to(64);
  CHECK(launch(thread_0_stays_away, {1, 64}, to.data()) == cudaSuccess);
  check_fails("no thread can go on: 63 in a named barrier");
  const uint32_t flag = 0;
  CHECK(launch(spins, {2, 32}, &flag) == cudaSuccess);
  check_fails("32 in load_acquire");
}

TEST_CASE("emulator: what is undefined on a device is a failure here") {
  std::vector<int> to(32);
  CHECK(launch(different_operations, {1, 32}) == cudaSuccess);
  check_fails("different operations");
  CHECK(launch(lane_outside_mask, {1, 32}, to.data()) == cudaSuccess);
  check_fails("reads lane 7");
  CHECK(launch(lane_is_gone, {1, 32}) == cudaSuccess);
  check_fails("lane 0 of mask 0xffffffff has ended");
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_CASE("emulator: a write behind shared memory is found") {
  int behind = 100;
  CHECK(launch(writes_behind, {1, 32, nullptr, 100}, &behind) == cudaSuccess);
  check_fails("behind the 100 bytes");
}
#endif

TEST_CASE("emulator: blocks of a cooperative launch run together") {
  in_both_orders([] {
    std::vector<int> counts(5), seen(5);
    uint32_t counters[2] = {0, 0};
    Launch how{5, 64};
    how.cooperative = true;
    CHECK(launch(turns, how, counters, counts.data(), seen.data()) == cudaSuccess);
    CHECK(seen == std::vector<int>(5, 5 + 10 + 15));
  });
}

TEST_CASE("emulator: a cooperative launch is refused where its blocks cannot all stay") {
  Settings settings;
  settings.n_multiprocessors = 3;
  cuda_emulator::set(settings);
  int each = 0;
  CHECK(blocks_that_stay(different_operations, 160, 113 << 10, &each) == cudaSuccess);
  CHECK(each == 2);
  Launch how{7, 160, nullptr, 113 << 10, true};
  CHECK(launch(different_operations, how) == cudaErrorCooperativeLaunchTooLarge);
  settings.cooperative = 0;
  cuda_emulator::set(settings);
  how.grid = dim3(1);
  CHECK(launch(different_operations, how) == cudaErrorNotSupported);
  CHECK(cudaGetLastError() == cudaErrorNotSupported);
  cuda_emulator::set({});
}

TEST_CASE("emulator: launches beyond the limits of the device are refused") {
  cuda_emulator::set({});
  CHECK(launch(different_operations, {1, 1025}) == cudaErrorInvalidConfiguration);
  CHECK(launch(different_operations, {0, 32}) == cudaErrorInvalidConfiguration);
  CHECK(launch(different_operations, {{1, 65536}, 32}) == cudaErrorInvalidConfiguration);
  CHECK(launch(different_operations, {1, 32, nullptr, 232449}) == cudaErrorInvalidConfiguration);
  CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("emulator: device memory has a limit, and frees are counted") {
  Settings settings;
  settings.memory_bytes = 1000;
  cuda_emulator::set(settings);
  void *a = nullptr, *b = nullptr;
  CHECK(cudaMalloc(&a, 600) == cudaSuccess);
  CHECK(reinterpret_cast<uintptr_t>(a) % 256 == 0);
  CHECK(cudaMalloc(&b, 401) == cudaErrorMemoryAllocation);
  CHECK(cudaMalloc(&b, 400) == cudaSuccess);
  size_t n_free = 1, n_total = 0;
  CHECK(cudaMemGetInfo(&n_free, &n_total) == cudaSuccess);
  CHECK(n_free == 0);
  CHECK(n_total == 1000);
  CHECK(cudaFree(a) == cudaSuccess);
  CHECK(cudaFree(a) == cudaErrorInvalidValue);
  CHECK(cudaFree(b) == cudaSuccess);
  CHECK(cuda_emulator::counts().allocated_bytes == 0);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  cuda_emulator::set({});
}

TEST_CASE("emulator: without a driver the count of devices is left unwritten") {
  Settings settings;
  settings.driver = 0;
  cuda_emulator::set(settings);
  int n = 1234;
  CHECK(cudaGetDeviceCount(&n) == cudaErrorInsufficientDriver);
  CHECK(n == 1234);
  cuda_emulator::set({});
}

TEST_CASE("emulator: a captured stream does its work when the graph is launched") {
  cuda_emulator::set({});
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  std::vector<float> values(10, 0.0f);
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(fill(values.data(), 10, 1.0f, stream) == cudaSuccess);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  CHECK(values == std::vector<float>(10, 0.0f));
  REQUIRE(cudaGraphInstantiate(&exec, graph) == cudaSuccess);
  CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
  CHECK(values == std::vector<float>(10, 1.0f));
  CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
}
