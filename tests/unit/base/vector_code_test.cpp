#include "base/vector_code.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <random>
#include <vector>

using namespace mm2;

namespace {

// Four lanes of products, the rest one by one.
inline __attribute__((always_inline)) double dot_loop(const float* a, const float* b, int64_t n) {
  FourDoubles sum = {};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    FourDoubles x, y;
    load_four(a + i, x);
    load_four(b + i, y);
    sum += x * y;
  }
  double rest = 0;
  for (; i < n; ++i) rest += double{a[i]} * double{b[i]};
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}

// A product and a sum that a fused instruction would round once.
inline __attribute__((always_inline)) void step_loop(const float* a, int64_t n, float by,
                                                     float plus, float* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = a[i] * by + plus;
}

}  // namespace

TEST_CASE("vector code: every form of a loop that this machine can run gives the same bits") {
  std::mt19937 random(1);
  std::normal_distribution<float> bell(0, 1);
  for (const int64_t n : {0, 1, 3, 4, 31, 128, 1000}) {
    INFO("n " << n);
    const auto size = static_cast<size_t>(n);
    std::vector<float> a(size + 1), b(size + 1), plain(size + 1), other(size + 1);
    for (float& x : a) x = bell(random);
    for (float& x : b) x = bell(random);
    const double wanted = VectorCode<dot_loop>::plain(a.data(), b.data(), n);
    VectorCode<step_loop>::plain(a.data(), n, 1.1f, -0.3f, plain.data());
    CHECK(VectorCode<dot_loop>::run(a.data(), b.data(), n) == wanted);
    VectorCode<step_loop>::run(a.data(), n, 1.1f, -0.3f, other.data());
    CHECK(other == plain);
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2")) continue;
    CHECK(VectorCode<dot_loop>::avx2(a.data(), b.data(), n) == wanted);
    other.assign(size + 1, 0);
    VectorCode<step_loop>::avx2(a.data(), n, 1.1f, -0.3f, other.data());
    CHECK(other == plain);
#endif
  }
}
