// What the scheduler counts.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace server {

/// Seconds, counted in buckets as Prometheus wants them.
struct Histogram {
  static constexpr std::array<double, 12> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                     0.1,   0.25,   0.5,   1,    2.5,   10};
  std::array<uint64_t, kBounds.size() + 1> counts{};
  double sum = 0;

  void add(double seconds) {
    const auto bucket = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
    ++counts[static_cast<size_t>(bucket - kBounds.begin())];
    sum += seconds;
  }
};

/// What has happened since the start, and what is going on.
struct Totals {
  uint64_t jobs = 0, finished = 0, cancelled = 0, failed = 0, refused = 0;
  uint64_t steps = 0, preemptions = 0, slow_readers = 0;
  uint64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  // The most steps that any sequence was in after its client was known to be gone: 1, where that
  // became known between planning a step and beginning it.
  int32_t most_unwanted_steps = 0;
  double step_seconds = 0, busy_seconds = 0;  // inside the engine; in all of the loop but waiting
  int32_t running = 0, waiting = 0, paused = 0, last_batch = 0;
  int64_t kv_blocks = 0, kv_free_blocks = 0;
  Histogram first_token, between_tokens;
};

}  // namespace server
