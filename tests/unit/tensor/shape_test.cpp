#include "tensor/shape.h"

#include <catch2/catch.hpp>
#include <limits>
#include <vector>

using namespace mm2;

TEST_CASE("dtype: every name leads to its type and back, other spellings to none") {
  for (int i = 0; i < kDtypes; ++i) {
    const auto dtype = static_cast<Dtype>(i);
    CHECK(dtype_from_name(dtype_name(dtype)) == dtype);
  }
  CHECK_FALSE(dtype_from_name("bf16"));
  CHECK_FALSE(dtype_from_name("F7"));
  CHECK_FALSE(dtype_from_name(""));
  CHECK(dtype_name(Dtype::f8_e4m3) == "F8_E4M3");
  CHECK(dtype_bits(Dtype::f4) == 4);
  CHECK(dtype_bits(Dtype::bf16) == 16);
  CHECK(dtype_bits(Dtype::i64) == 64);
}

TEST_CASE("shape: extents, matrix view and spelling") {
  const Shape cube{4, 8, 2};
  CHECK(cube.to_string() == "[4, 8, 2]");
  CHECK(cube.n_elements() == 64);
  CHECK(cube.n_rows() == 32);
  CHECK(cube.n_cols() == 2);
  CHECK(Shape{}.to_string() == "[]");
  CHECK(Shape{}.n_elements() == 1);
  CHECK(Shape{5}.n_rows() == 1);
  CHECK(Shape{5}.n_cols() == 5);
  CHECK(Shape{1, 5} != Shape{5});
  CHECK(Shape{1, 5} == Shape{1, 5});
}

TEST_CASE("shape: counts that leave 64 bits, negative extents and rank 9 are refused") {
  const int64_t half = int64_t{1} << 32;
  const auto make = [](std::vector<int64_t> extents) { return Shape::make(extents); };
  CHECK(make({half, half}).status().message().find("overflow") != std::string::npos);
  CHECK_FALSE(make({0, half, half}).ok());  // zero elements, yet strides that no integer holds
  CHECK(make({half - 1, half / 2}).ok());
  CHECK(make({3, -2}).status().message().find("-2") != std::string::npos);
  CHECK(make(std::vector<int64_t>(8, 1)).ok());
  CHECK_FALSE(make(std::vector<int64_t>(9, 1)).ok());
}

TEST_CASE("shape: bytes are exact, and absent when they overflow or are not whole") {
  CHECK(tensor_bytes({3, 5}, Dtype::f32) == 60);
  CHECK(tensor_bytes({4}, Dtype::f4) == 2);
  CHECK_FALSE(tensor_bytes({3}, Dtype::f4));
  CHECK_FALSE(tensor_bytes({int64_t{1} << 60}, Dtype::f64));
  CHECK(tensor_bytes({0, 7}, Dtype::bf16) == 0);
}
