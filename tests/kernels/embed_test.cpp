#include "kernels/support.h"

using namespace support;

TEST_CASE("embed: rows of the table as they are stored, in every format") {
  Random random(1);
  for (const int32_t number : {kF32, kBF16, kF16}) {
    const int32_t hidden = 21;
    const Weights table(random, 7, hidden, number);
    const std::vector<int32_t> tokens = {6, 0, 3, 3};
    std::vector<float> y(tokens.size() * hidden), z(y.size());
    const EmbedArgs<float> args{&table.ref, tokens.data(), 4, y.data()};
    tested_backend()->ops->embed(Workers(1).get(), &args);
    const EmbedArgs<float> ref_args{&table.ref, tokens.data(), 4, z.data()};
    ref::embed(nullptr, &ref_args);
    CHECK(same_bits(y, z));
    for (int64_t i = 0; i < hidden; ++i) CHECK(double{y[static_cast<size_t>(i)]} == table.at(6, i));
  }
}
