#include "kernels/support.h"

using namespace support;

TEST_CASE("rope_table: generic equals the reference in FP64, rounded, up to position 200000") {
  for (const int32_t rotary_dim : {2, 6, 64}) {
    std::vector<int32_t> positions = {0, 1, 2, 63, 64, 1000, 4095, 65537, 131071, 199999};
    const auto n = static_cast<int32_t>(positions.size());
    std::vector<float> table(static_cast<size_t>(n * rotary_dim));
    std::vector<double> exact(table.size());
    const RopeTableArgs<float> args{positions.data(), n, rotary_dim, 5e6, table.data()};
    const RopeTableArgs<double> wide{positions.data(), n, rotary_dim, 5e6, exact.data()};
    tested_backend()->ops->rope_table(Workers(2).get(), &args);
    ref::rope_table(nullptr, &wide);
    for (size_t i = 0; i < table.size(); ++i) {
      // Rounding to float, and the last bits of angles up to 2e5 in FP64.
      CHECK(std::abs(double{table[i]} - exact[i]) <= kEps * std::abs(exact[i]) + 1e-9);
    }
  }
}

TEST_CASE("rope_table: component i turns by position * theta^(-2i / rotary_dim), cosines first") {
  const int32_t position = 3;
  std::vector<double> table(4);
  const RopeTableArgs<double> args{&position, 1, 4, 100.0, table.data()};
  ref::rope_table(nullptr, &args);
  CHECK(table[0] == Approx(std::cos(3.0)).margin(1e-15));
  CHECK(table[1] == Approx(std::cos(0.3)).margin(1e-15));
  CHECK(table[2] == Approx(std::sin(3.0)).margin(1e-15));
  CHECK(table[3] == Approx(std::sin(0.3)).margin(1e-15));
}
