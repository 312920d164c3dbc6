// Random numbers that depend on where they are used and on nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace mm2 {

/// Uniform numbers in [0, 1) for each parent and element of a tensor.
class Draw {
 public:
  virtual ~Draw() = default;
  /// Of the elements first, first + 1, ... (row-major). May be called from any thread.
  virtual void fill(int parent, int64_t first, std::span<double> to) const = 0;
};

/// SplitMix64 used as a counter: number i is the mix of key + i * gamma. The key is a hash of seed,
/// tensor and parent.
class CounterDraw final : public Draw {
 public:
  CounterDraw(uint64_t seed, std::string_view tensor);
  void fill(int parent, int64_t first, std::span<double> to) const override;

 private:
  uint64_t key_;
};

/// The chance of each value of one row to stay, by della's rule: the smallest magnitude has
/// density - epsilon, the largest density + epsilon, the ranks between them evenly; of equal
/// magnitudes the later ranks higher. values: [n].
std::vector<double> della_probabilities(const float* values, size_t n, double density,
                                        double epsilon);

}  // namespace mm2
