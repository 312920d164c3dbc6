// What this machine gives at this moment: memory reads per second, and multiplications with
// additions per second in the code that a baseline CPU runs. Other jobs share the machine, so a
// probe is taken right before and right after each piece of work, and only shares are compared.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/executor.h"
#include "kernels/api/types.h"

namespace bench {

typedef float F32x4 __attribute__((vector_size(16)));
typedef uint64_t U64x2 __attribute__((vector_size(16)));

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A team of threads, as kernels see it.
class Team {
 public:
  explicit Team(int32_t n_threads) : team_(*mm2::make_thread_team(n_threads)) {
    executor_ = {team_.get(), n_threads, [](void* self, int32_t n, auto task, void* context) {
                   static_cast<mm2::Executor*>(self)->parallel_for(n, task, context);
                 }};
  }
  const mm2::kernels::Executor* get() const { return &executor_; }
  template <typename F>
  void run(int32_t n_tasks, F&& f) {
    team_->run(n_tasks, f);
  }
  int32_t n_threads() const { return executor_.n_workers; }

 private:
  std::shared_ptr<mm2::Executor> team_;
  mm2::kernels::Executor executor_;
};

/// Memory aligned to 2 MiB, in huge pages where the system gives them.
struct Bytes {
  explicit Bytes(int64_t n)
      : size((static_cast<size_t>(n) + kHuge - 1) / kHuge * kHuge),
        data(static_cast<char*>(std::aligned_alloc(kHuge, size)), std::free) {
    madvise(data.get(), size, MADV_HUGEPAGE);
    std::memset(data.get(), 0, size);
  }
  static constexpr size_t kHuge = size_t{2} << 20;
  size_t size;
  std::unique_ptr<char, void (*)(void*)> data;
};

class Probe {
 public:
  explicit Probe(Team& team) : team_(team), bytes_(kBytes) {}

  /// GB/s of all threads reading the next slice of a buffer larger than the caches: four streams
  /// each, 1 KiB of prefetch, which read fastest of eight variants.
  double read() {
    const int32_t n = team_.n_threads();
    const size_t stream = static_cast<size_t>(kSlice / 16 / 4 / n);
    const U64x2* slice = reinterpret_cast<const U64x2*>(bytes_.data.get() + at_);
    const double begin = now();
    team_.run(n, [&](int32_t i, int32_t) {
      U64x2 sum[4] = {};
      for (size_t k = 0; k < stream; k += 4) {
        for (size_t s = 0; s < 4; ++s) {
          const U64x2* from = slice + (static_cast<size_t>(i) * 4 + s) * stream + k;
          __builtin_prefetch(from + 64);
          for (size_t v = 0; v < 4; ++v) sum[v] += from[v];
        }
      }
      sum[0] += sum[1] + sum[2] + sum[3];
      sink_ += sum[0][0];
    });
    const double taken = now() - begin;
    at_ = (at_ + kSlice) % kBytes;
    return static_cast<double>(kSlice) / taken / 1e9;
  }

  /// GFLOP/s of all threads: 12 chains of x = x * a + b in registers, two operations each.
  double compute() {
    constexpr int64_t kTurns = 1'000'000;
    const double begin = now();
    team_.run(team_.n_threads(), [&](int32_t i, int32_t) {
      F32x4 x[12];
      for (int v = 0; v < 12; ++v) x[v] = F32x4{} + static_cast<float>(v + i);
      const F32x4 a = F32x4{} + 0.999f, b = F32x4{} + 0.001f;
      for (int64_t turn = 0; turn < kTurns; ++turn) {
        for (int v = 0; v < 12; ++v) x[v] = x[v] * a + b;
      }
      float sum = 0;
      for (int v = 0; v < 12; ++v) sum += x[v][0];
      sink_ += static_cast<uint64_t>(sum > 1e30f);
    });
    return static_cast<double>(kTurns * 12 * 8 * team_.n_threads()) / (now() - begin) / 1e9;
  }

 private:
  static constexpr int64_t kBytes = int64_t{640} << 20;
  static constexpr int64_t kSlice = int64_t{64} << 20;
  Team& team_;
  Bytes bytes_;
  int64_t at_ = 0;
  std::atomic<uint64_t> sink_{0};
};

struct Figures {
  double seconds, rate, share, low, high;  // medians; shares at the 10th and 90th percentile
  int kept, all;
};

/// Runs `work` (`amount` units of 10^9, bytes or operations) between two probes, n times; medians
/// of the repetitions whose probes agree within 10 %, or of all where fewer than five do.
template <typename ProbeF, typename Work>
Figures measure(int n, double amount, ProbeF probe, Work work) {
  struct Sample {
    double seconds, share, spread;
  };
  std::vector<Sample> samples;
  work(0);
  for (int i = 0; i < n; ++i) {
    const double before = probe();
    const double begin = now();
    work(i + 1);
    const double seconds = now() - begin;
    const double after = probe();
    const double mean = (before + after) / 2;
    samples.push_back({seconds, amount / seconds / mean, std::abs(before - after) / mean});
  }
  std::vector<Sample> kept;
  for (const Sample& s : samples) {
    if (s.spread <= 0.1) kept.push_back(s);
  }
  if (kept.size() < 5) kept = samples;
  const auto pick = [&](double part, auto member) {
    std::vector<double> v;
    for (const Sample& s : kept) v.push_back(s.*member);
    std::sort(v.begin(), v.end());
    return v[static_cast<size_t>(part * static_cast<double>(v.size() - 1))];
  };
  const double seconds = pick(0.5, &Sample::seconds);
  return {seconds,
          amount / seconds,
          pick(0.5, &Sample::share),
          pick(0.1, &Sample::share),
          pick(0.9, &Sample::share),
          static_cast<int>(kept.size()),
          n};
}

inline void print(const std::string& name, const Figures& f, const char* unit) {
  std::printf("%-44s %9.3f ms %8.2f %s  %5.1f %% of probe [%.0f-%.0f], %d of %d kept\n",
              name.c_str(), f.seconds * 1e3, f.rate, unit, f.share * 100, f.low * 100, f.high * 100,
              f.kept, f.all);
}

/// Random numbers without a library's opinion about them.
inline float random_float(uint64_t& state) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<float>(state >> 40) * 0x1p-24f - 0.5f;
}

}  // namespace bench
