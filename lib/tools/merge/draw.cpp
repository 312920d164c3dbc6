#include "tools/merge/draw.h"

#include <bit>
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

// Places in the order of the magnitudes there, equal ones in their own order: each with its magnitude
// in the upper half. Sizes of floats compare as their bits do, so a radix sort has them in three
// passes.
std::vector<uint64_t> by_magnitude(const float* values, size_t n) {
  constexpr int kPasses = 3, kDigit = 11, kFirst = 32;
  constexpr size_t kBuckets = size_t{1} << kDigit;
  std::vector<uint64_t> from(n), to(n);
  std::vector<uint32_t> counts(kPasses * kBuckets);
  const auto digit = [](uint64_t entry, int pass) {
    return static_cast<size_t>(entry >> (kFirst + pass * kDigit)) & (kBuckets - 1);
  };
  for (size_t i = 0; i < n; ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(values[i]) & 0x7fffffffu;
    from[i] = uint64_t{magnitude} << kFirst | i;
    for (int pass = 0; pass < kPasses; ++pass) {
      ++counts[static_cast<size_t>(pass) * kBuckets + digit(from[i], pass)];
    }
  }
  for (int pass = 0; pass < kPasses; ++pass) {
    uint32_t* const places = counts.data() + static_cast<size_t>(pass) * kBuckets;
    std::exclusive_scan(places, places + kBuckets, places, 0u);
    for (const uint64_t entry : from) to[places[digit(entry, pass)]++] = entry;
    from.swap(to);
  }
  return from;
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
  std::vector<double> chance(n, density);
  if (n < 2) return chance;
  const std::vector<uint64_t> order = by_magnitude(values, n);
  for (size_t rank = 0; rank < n; ++rank) {
    chance[static_cast<uint32_t>(order[rank])] =
        density - epsilon + 2 * epsilon * static_cast<double>(rank) / static_cast<double>(n - 1);
  }
  return chance;
}

}  // namespace mm2
