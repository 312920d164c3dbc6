#include "base/exact_sum.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

using namespace mm2;

TEST_CASE("exact sum: it is that of long double, in any order, small beside large") {
  std::mt19937_64 generator(4);
  std::vector<double> numbers{1e300, 1.0, -1e300, 5e-324, -3.5, 0x1p-1022, 0.0, -0.0};
  for (int i = 0; i < 2000; ++i) {
    numbers.push_back(std::ldexp(static_cast<double>(static_cast<int64_t>(generator())),
                                 static_cast<int>(generator() % 40) - 90));
  }
  ExactSum forward, backward, left, right;
  for (size_t i = 0; i < numbers.size(); ++i) {
    forward.add(numbers[i]);
    backward.add(numbers[numbers.size() - 1 - i]);
    (i % 3 == 0 ? left : right).add(numbers[i]);
  }
  left.merge(right);
  CHECK(forward.value() == backward.value());
  CHECK(forward.value() == left.value());
  // Without 1e300 and the tiny ones all bits fit into two long doubles; here one is enough to
  // compare with, within its own rounding of 2000 sums.
  long double near = 1.0L - 3.5L;
  for (size_t i = 8; i < numbers.size(); ++i) near += numbers[i];
  CHECK(forward.value() == Approx(static_cast<double>(near)).epsilon(1e-15));
  ExactSum tiny;
  tiny.add(1e300);
  tiny.add(-5e-324);
  tiny.add(-1e300);
  CHECK(tiny.value() == -5e-324);
  tiny.add(1e-300);
  tiny.add(1e-300);
  CHECK(tiny.value() == 2e-300);
}

TEST_CASE("exact sum: it is the rounded true sum whatever the order") {
  std::vector<double> values = {1e100, 1.0, -1e100, 0x1p-60, -1.0, 0x1p-1000, 3.0};
  std::sort(values.begin(), values.end());
  do {
    ExactSum sum;
    for (const double value : values) sum.add(value);
    REQUIRE(sum.value() == 3.0);
  } while (std::next_permutation(values.begin(), values.end()));
  ExactSum half;  // a tie that only the last, tiny part breaks
  half.add(1);
  half.add(0x1p-53);
  CHECK(half.value() == 1.0);
  half.add(0x1p-120);
  CHECK(half.value() == 1 + 0x1p-52);
  half.merge(half);
  CHECK(half.value() == 2 + 0x1p-51);
  ExactSum none;
  CHECK(none.value() == 0.0);
  CHECK(none.parts().empty());
}
