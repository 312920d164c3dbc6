// The twin of wgmma.h on the emulator. A product is done as late as it may be: when its group is waited
// for. Until then its registers hold NaN and what it reads may still be spoilt: who does not wait, or
// hands a tile back too early, gets other numbers.
#pragma once

#include <cuda_runtime.h>
#include <string.h>

#include <cmath>
#include <vector>

#include "kernels/cuda/common/wgmma_rows.h"

namespace mm2::kernels::cuda {

class Wgmma {
 public:
  void fence() { fenced_ = true; }
  void commit() { ++committed_; }

  template <int kGroups>
  void wait() {
    const auto left = static_cast<uint64_t>(kGroups);
    const uint64_t done = committed_ > left ? committed_ - left : 0;
    size_t n = 0;
    for (; n < pending_.size() && pending_[n].group < done; ++n) run(pending_[n]);
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(n));
    fenced_ = false;
  }

  template <int kGroups, int kNumbers>
  void wait(float (&)[kNumbers]) {
    wait<kGroups>();
  }

  template <int kN, bool kMnMajorB = false>
  void multiply(float (&d)[kN / 2], const uint32_t (&a)[4], uint64_t b, bool accumulates) {
    uint32_t quad[4][4];
    cuda_emulator::show(a, threadIdx.x % 32 / 4 * 4, 4, quad);
    Product p = begin(d, kN, b, kMnMajorB, accumulates);
    row_of_a(quad, 0, p.rows[0]);
    row_of_a(quad, 1, p.rows[1]);
    pending_.push_back(p);
  }

  template <int kN, bool kMnMajorA = false, bool kMnMajorB = false>
  void multiply_shared(float (&d)[kN / 2], uint64_t a, uint64_t b, bool accumulates) {
    __syncwarp();
    Product p = begin(d, kN, b, kMnMajorB, accumulates);
    p.a = a;
    p.a_is_shared = true;
    p.a_is_mn_major = kMnMajorA;
    pending_.push_back(p);
  }

 private:
  struct Product {
    float* d;
    int n;
    bool accumulates, b_is_mn_major, a_is_shared, a_is_mn_major;
    uint64_t a, b, group;
    float rows[2][16];
    float before[64];  // what D held, where no earlier product is still to come
    bool restores;
  };

  Product begin(float* d, int n, uint64_t b, bool b_is_mn_major, bool accumulates) {
    if (!fenced_) cuda_emulator::fail("wgmma: a product is begun without a fence");
    Product p{};
    p.d = d;
    p.n = n;
    p.b = b;
    p.b_is_mn_major = b_is_mn_major;
    p.accumulates = accumulates;
    p.group = committed_;
    p.restores = true;
    for (const Product& earlier : pending_) p.restores &= earlier.d != d;
    if (accumulates) memcpy(p.before, d, static_cast<size_t>(n) * 2);
    for (int i = 0; i < n / 2; ++i) d[i] = NAN;
    return p;
  }

  static void run(Product& p) {
    const SharedWindow shared{static_cast<const uint8_t*>(cuda_emulator::shared_memory()),
                              static_cast<uint32_t>(cuda_emulator::shared_bytes())};
    const auto thread = static_cast<int>(threadIdx.x % 128);
    if (p.restores && p.accumulates) memcpy(p.d, p.before, static_cast<size_t>(p.n) * 2);
    if (p.a_is_shared) {
      for (uint32_t i = 0; i < 32; ++i) {
        const auto row =
            static_cast<uint32_t>(element_of_a(thread, static_cast<int>(i / 16), 0).row);
        p.rows[i / 16][i % 16] = read_operand(shared, p.a, p.a_is_mn_major, row, i % 16);
      }
    }
    multiply_rows(p.d, p.n, thread, p.rows, shared, p.b, p.b_is_mn_major, p.accumulates);
  }

  std::vector<Product> pending_;
  uint64_t committed_ = 0;
  bool fenced_ = false;
};

inline uint32_t tile_address(const void* shared) {
  cuda_emulator::check_shared(shared, 16, "a tile");
  return static_cast<uint32_t>(static_cast<const char*>(shared) -
                               static_cast<const char*>(cuda_emulator::shared_memory()));
}

}  // namespace mm2::kernels::cuda
