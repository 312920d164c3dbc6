// Time of deriving the pruning mask of a whole model from its routers: 62 layers of 256 experts,
// hidden 3072, against a reference of 192 with a tenth of noise. No row is equal, so every layer needs
// all of it: products, assignment, margins.
//
//   match_bench [THREADS]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "tools/experts/matching.h"

namespace {

constexpr int32_t kLayers = 62, kExperts = 256, kKept = 192, kHidden = 3072;

struct Layer {
  std::vector<float> original, reference;
  std::vector<int32_t> kept;
};

Layer made_up(uint32_t seed) {
  std::mt19937 random(seed);
  const auto draw = [&] { return static_cast<float>(random()) * 0x1p-31f - 1; };
  Layer layer;
  layer.original.resize(size_t{kExperts} * kHidden);
  for (float& value : layer.original) value = draw();
  for (int32_t id = 0; id < kExperts; ++id) layer.kept.push_back(id);
  std::shuffle(layer.kept.begin(), layer.kept.end(), random);
  layer.kept.resize(kKept);
  std::sort(layer.kept.begin(), layer.kept.end());
  for (const int32_t id : layer.kept) {
    for (size_t k = 0; k < kHidden; ++k) {
      layer.reference.push_back(layer.original[static_cast<size_t>(id) * kHidden + k] +
                                0.1f * draw());
    }
  }
  return layer;
}

}  // namespace

int main(int argc, char** argv) {
  const int n_threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 2;
  std::vector<Layer> layers;
  for (uint32_t i = 0; i < kLayers; ++i) layers.push_back(made_up(i));
  std::atomic<size_t> next{0};
  std::atomic<int> n_right{0};
  std::vector<double> margins(kLayers, 0);
  const auto work = [&] {
    for (size_t i = next++; i < layers.size(); i = next++) {
      const Layer& layer = layers[i];
      const auto match = mm2::match_experts({layer.original, kExperts, kHidden},
                                            {layer.reference, kKept, kHidden}, {});
      if (!match.ok() || !match->verdict.ok()) continue;
      margins[i] = match->smallest_margin;
      bool right = match->ascending;
      for (size_t r = 0; r < layer.kept.size(); ++r) {
        right = right && match->pairs[r].original == layer.kept[r];
      }
      n_right += right ? 1 : 0;
    }
  };
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int i = 1; i < n_threads; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%d of %d layers right, %d threads: %.2f s, smallest exchange margin %.3f\n",
              n_right.load(), kLayers, n_threads, seconds,
              *std::min_element(margins.begin(), margins.end()));
  return n_right == kLayers ? 0 : 1;
}
