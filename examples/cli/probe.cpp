#include "probe.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

namespace cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kReadBytes = size_t{256} << 20;  // beyond the last-level cache of most machines
constexpr int kLanes = 16;                        // F32 in the widest register
constexpr int kChains = 8;                        // independent sums, to cover the latency
constexpr int64_t kRounds = 400000;

using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));

/// Seconds from the moment all threads are ready until the last one is done.
double time_threads(int32_t n_threads, const std::function<void(int32_t)>& work) {
  std::atomic<int32_t> n_ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> threads;
  for (int32_t t = 0; t < n_threads; ++t) {
    threads.emplace_back([&, t] {
      n_ready.fetch_add(1);
      while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
      work(t);
    });
  }
  while (n_ready.load() < n_threads) std::this_thread::yield();
  const auto begin = Clock::now();
  go.store(true, std::memory_order_release);
  for (std::thread& thread : threads) thread.join();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// kChains independent sums of kLanes products, again and again.
__attribute__((always_inline)) inline float multiply_add(int64_t rounds, float start) {
  Vector sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = Vector{} + start * static_cast<float>(c + 1);
  const Vector factor = Vector{} + 0.999999f, addend = Vector{} + 1e-6f;
  for (int64_t r = 0; r < rounds; ++r) {
    for (int c = 0; c < kChains; ++c) sums[c] = sums[c] * factor + addend;
  }
  float total = 0;
  for (const Vector& sum : sums) total += sum[0];
  return total;
}

float any_processor(int64_t rounds, float start) {
  return multiply_add(rounds, start);
}

struct Arithmetic {
  float (*work)(int64_t rounds, float start);
  int products_per_lane;
};

#if defined(__x86_64__)

__attribute__((target("avx2,fma"))) float with_avx2(int64_t rounds, float start) {
  return multiply_add(rounds, start);
}
__attribute__((target("avx512f"))) float with_avx512(int64_t rounds, float start) {
  return multiply_add(rounds, start);
}
/// Dot products of BF16 pairs, added to F32: two products a lane.
__attribute__((target("avx512f"))) float with_bf16(int64_t rounds, float start) {
  Vector sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = Vector{} + start * static_cast<float>(c + 1);
  const Vector factor = Vector{} + 1e-3f;  // as bits: any numbers will do
  for (int64_t r = 0; r < rounds; ++r) {
    for (int c = 0; c < kChains; ++c) asm("vdpbf16ps %1, %1, %0" : "+v"(sums[c]) : "v"(factor));
  }
  float total = 0;
  for (const Vector& sum : sums) total += sum[0];
  return total;
}

std::vector<Arithmetic> arithmetic_of_this_machine() {
  if (__builtin_cpu_supports("avx512bf16")) return {{with_avx512, 1}, {with_bf16, 2}};
  if (__builtin_cpu_supports("avx512f")) return {{with_avx512, 1}};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {{with_avx2, 1}};
  return {{any_processor, 1}};
}

#else

std::vector<Arithmetic> arithmetic_of_this_machine() {
  return {{any_processor, 1}};
}

#endif

}  // namespace

MachineProbe::MachineProbe(int32_t n_threads)
    : n_threads_(n_threads > 0
                     ? n_threads
                     : static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()))) {}

void MachineProbe::measure_read() {
  if (memory_.empty()) memory_.assign(kReadBytes / sizeof(uint64_t), 1);
  std::atomic<uint64_t> total{0};
  const size_t share = memory_.size() / n_threads_;
  const double seconds = time_threads(n_threads_, [&](int32_t thread) {
    const uint64_t* from = memory_.data() + share * thread;
    uint64_t sums[8] = {};
    for (size_t i = 0; i + 8 <= share; i += 8) {
      for (int s = 0; s < 8; ++s) sums[s] += from[i + s];
    }
    for (const uint64_t sum : sums) total.fetch_add(sum);
  });
  const double bytes = static_cast<double>(share * n_threads_ * sizeof(uint64_t));
  if (total.load() != 0) read_gb_per_s_ = std::max(read_gb_per_s_, bytes / seconds / 1e9);
}

void MachineProbe::measure_arithmetic() {
  for (const Arithmetic& arithmetic : arithmetic_of_this_machine()) {
    std::atomic<int32_t> n_useful{0};
    const double seconds = time_threads(n_threads_, [&](int32_t thread) {
      if (arithmetic.work(kRounds, static_cast<float>(thread + 1)) != 0) n_useful.fetch_add(1);
    });
    const double flop =
        2.0 * arithmetic.products_per_lane * kLanes * kChains * kRounds * n_threads_;
    if (n_useful.load() > 0) peak_gflop_per_s_ = std::max(peak_gflop_per_s_, flop / seconds / 1e9);
  }
}

}  // namespace cli
