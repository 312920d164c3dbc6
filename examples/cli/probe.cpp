#include "probe.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

namespace cli {
namespace {

using Clock = std::chrono::steady_clock;
// A buffer beyond the last-level cache of most machines, read in parts that follow each other, so that
// no part is still in a cache when its turn comes again.
constexpr size_t kReadBytes = size_t{768} << 20;
constexpr size_t kReadPart = size_t{128} << 20;
constexpr size_t kReadAhead = 2048;  // bytes between a prefetch and its use
constexpr int kChains = 12;          // independent sums, to cover the latency
constexpr int64_t kRounds = 400000;

using Vector4 = float __attribute__((vector_size(16)));
using Vector8 = float __attribute__((vector_size(32)));
using Vector16 = float __attribute__((vector_size(64)));

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

/// Applies `step` to kChains sums again and again. Every sum has a name of its own: so all of them
/// stay in registers.
template <typename Vector, typename Step>
__attribute__((always_inline)) inline float run_chains(int64_t rounds, const Vector& start,
                                                       Step step) {
  Vector a = start, b = a * 2, c = a * 3, d = a * 4, e = a * 5, f = a * 6, g = a * 7, h = a * 8;
  Vector i = a * 9, j = a * 10, k = a * 11, l = a * 12;
  for (int64_t r = 0; r < rounds; ++r) {
    step(a), step(b), step(c), step(d), step(e), step(f), step(g), step(h);
    step(i), step(j), step(k), step(l);
  }
  const Vector sum = a + b + c + d + e + f + g + h + i + j + k + l;
  return sum[0];
}

template <typename Vector>
__attribute__((always_inline)) inline float multiply_add(int64_t rounds, const Vector& start) {
  const Vector factor = Vector{} + 0.999999f, addend = factor * 1e-6f;
  return run_chains(
      rounds,
      start, [&](Vector & sum) __attribute__((always_inline)) { sum = sum * factor + addend; });
}

struct Arithmetic {
  float (*work)(int64_t rounds, float start);
  int products;  // of one step
};

float any_processor(int64_t rounds, float start) {
  return multiply_add(rounds, Vector4{} + start);
}

/// Reads n bytes, a multiple of 256, and returns something other than 0.
using ReadAll = uint64_t (*)(const char* from, size_t n);

uint64_t read_words(const char* from, size_t n) {
  uint64_t sums[8] = {};
  const auto* words = reinterpret_cast<const uint64_t*>(from);
  for (size_t i = 0; i < n / 8; i += 8) {
    for (int s = 0; s < 8; ++s) sums[s] |= words[i + s];
  }
  for (const uint64_t sum : sums) sums[0] |= sum;
  return sums[0] | 1;
}

#if defined(__x86_64__)

__attribute__((target("avx2,fma"))) float with_avx2(int64_t rounds, float start) {
  return multiply_add(rounds, Vector8{} + start);
}
__attribute__((target("avx512f"))) float with_avx512(int64_t rounds, float start) {
  return multiply_add(rounds, Vector16{} + start);
}
/// Dot products of BF16 pairs, added to F32. As bits of BF16 any numbers will do.
__attribute__((target("avx512f"))) float with_bf16(int64_t rounds, float start) {
  const Vector16 factor = Vector16{} + 1e-3f;
  return run_chains(
      rounds, Vector16{} + start, [&](Vector16 & sum) __attribute__((always_inline)) {
        asm("vdpbf16ps %1, %1, %0" : "+v"(sum) : "v"(factor));
      });
}

/// Dot products of four bytes, added to 32-bit integers, whatever these bits are as floats.
__attribute__((target("avx512f"))) float with_int8(int64_t rounds, float start) {
  const Vector16 factor = Vector16{} + 1e-3f;
  return run_chains(
      rounds, Vector16{} + start, [&](Vector16 & sum) __attribute__((always_inline)) {
        asm("vpdpbusd %1, %1, %0" : "+v"(sum) : "v"(factor));
      });
}

template <typename Vector>
__attribute__((always_inline)) inline uint64_t read_vectors(const char* from, size_t n) {
  Vector a{}, b{}, c{}, d{};
  for (size_t i = 0; i < n; i += 4 * sizeof(Vector)) {
    for (size_t line = 0; line < 4 * sizeof(Vector); line += 64) {
      __builtin_prefetch(from + i + kReadAhead + line);
    }
    const auto* at = reinterpret_cast<const Vector*>(from + i);
    a |= at[0], b |= at[1], c |= at[2], d |= at[3];
  }
  a |= b | c | d;
  return static_cast<uint64_t>(a[0]) | 1;
}
using Words4 = long long __attribute__((vector_size(32)));
using Words8 = long long __attribute__((vector_size(64)));

__attribute__((target("avx2"))) uint64_t read_with_avx2(const char* from, size_t n) {
  return read_vectors<Words4>(from, n);
}
__attribute__((target("avx512f"))) uint64_t read_with_avx512(const char* from, size_t n) {
  return read_vectors<Words8>(from, n);
}

ReadAll reader_of_this_machine() {
  if (__builtin_cpu_supports("avx512f")) return read_with_avx512;
  return __builtin_cpu_supports("avx2") ? read_with_avx2 : read_words;
}

std::vector<Arithmetic> arithmetic_of_this_machine(bool int8) {
  if (int8 && __builtin_cpu_supports("avx512vnni")) return {{with_int8, 64}};
  if (__builtin_cpu_supports("avx512bf16")) return {{with_avx512, 16}, {with_bf16, 32}};
  if (__builtin_cpu_supports("avx512f")) return {{with_avx512, 16}};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {{with_avx2, 8}};
  return {{any_processor, 4}};
}

#else

ReadAll reader_of_this_machine() {
  return read_words;
}

std::vector<Arithmetic> arithmetic_of_this_machine(bool /*int8*/) {
  return {{any_processor, 4}};
}

#endif

}  // namespace

MachineProbe::MachineProbe(int32_t n_threads, bool int8)
    : int8_(int8),
      n_threads_(n_threads > 0
                     ? n_threads
                     : static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()))) {}

void MachineProbe::measure_read() {
  if (memory_ == nullptr) {
    memory_.reset(static_cast<char*>(std::aligned_alloc(size_t{2} << 20, kReadBytes)));
    if (memory_ == nullptr) return;
    (void)madvise(memory_.get(), kReadBytes, MADV_HUGEPAGE);
    std::memset(memory_.get(), 1, kReadBytes);
  }
  const char* part = memory_.get() + next_part_;
  next_part_ = (next_part_ + kReadPart) % kReadBytes;
  std::atomic<uint64_t> total{0};
  const size_t share = kReadPart / n_threads_ / 256 * 256;
  const ReadAll read_all = reader_of_this_machine();
  const double seconds = time_threads(
      n_threads_, [&](int32_t thread) { total.fetch_add(read_all(part + share * thread, share)); });
  const double bytes = static_cast<double>(share * n_threads_);
  if (total.load() != 0) read_gb_per_s_ = std::max(read_gb_per_s_, bytes / seconds / 1e9);
}

void MachineProbe::measure_arithmetic() {
  for (const Arithmetic& arithmetic : arithmetic_of_this_machine(int8_)) {
    std::atomic<int32_t> n_useful{0};
    const double seconds = time_threads(n_threads_, [&](int32_t thread) {
      if (arithmetic.work(kRounds, static_cast<float>(thread + 1)) != 0) n_useful.fetch_add(1);
    });
    const double flop = 2.0 * arithmetic.products * kChains * kRounds * n_threads_;
    if (n_useful.load() > 0) peak_gflop_per_s_ = std::max(peak_gflop_per_s_, flop / seconds / 1e9);
  }
}

}  // namespace cli
