// The tokens that penalties look back on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>

#include "absl/container/flat_hash_map.h"

namespace mm2 {

struct Penalties {
  float repetition = 1;  // of prompt and output; 1 = off
  float frequency = 0;   // of the output; 0 = off
  float presence = 0;
  bool active() const { return repetition != 1 || frequency != 0 || presence != 0; }
};

/// Counts per token over the last `window` tokens, or over all when window is 0.
class History {
 public:
  explicit History(int32_t window) : window_(static_cast<size_t>(window)) {}

  /// On an exception nothing has changed.
  void add(int32_t token, bool from_prompt);
  void clear();

  /// Changes logits [n_vocab] of the tokens seen, each by repetition, then frequency, then
  /// presence.
  void penalize(const Penalties& penalties, std::span<float> logits) const;

 private:
  struct Entry {
    int32_t token;
    bool from_prompt;
  };
  struct Counts {
    int32_t all = 0;
    int32_t output = 0;
  };
  void forget_oldest();

  size_t window_;
  std::deque<Entry> recent_;  // unused when window_ is 0
  absl::flat_hash_map<int32_t, Counts> counts_;
};

}  // namespace mm2
