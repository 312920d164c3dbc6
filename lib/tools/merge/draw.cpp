#include "tools/merge/draw.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/blake2b.h"

namespace mm2 {
namespace {

constexpr uint64_t kGamma = 0x9e3779b97f4a7c15u;

constexpr uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

CounterDraw::CounterDraw(uint64_t seed, std::string_view tensor) {
  Blake2b hash;
  unsigned char bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<unsigned char>(seed >> (8 * i));
  hash.add(bytes, sizeof bytes);
  hash.add(tensor.data(), tensor.size());
  key_ = hash.finish()[0];
}

void CounterDraw::fill(int parent, int64_t first, std::span<double> to) const {
  const uint64_t key = mix(key_ + kGamma * (static_cast<uint64_t>(parent) + 1));
  uint64_t counter = key + kGamma * static_cast<uint64_t>(first);
  for (double& number : to) {
    counter += kGamma;
    number = static_cast<double>(mix(counter) >> 11) * 0x1p-53;
  }
}

std::vector<double> della_probabilities(const float* values, size_t n, double density,
                                        double epsilon) {
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [values](uint32_t a, uint32_t b) {
    return std::abs(values[a]) < std::abs(values[b]);
  });
  std::vector<double> chance(n, density);
  if (n < 2) return chance;
  for (size_t rank = 0; rank < n; ++rank) {
    chance[order[rank]] =
        density - epsilon + 2 * epsilon * static_cast<double>(rank) / static_cast<double>(n - 1);
  }
  return chance;
}

}  // namespace mm2
