// Extents of a tensor, row-major, at most 8 of them. Rank 0 is a scalar.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>

#include "base/status.h"
#include "tensor/dtype.h"

namespace mm2 {

class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  /// From extents that are known to be sound (not negative, their product within int64, at most 8
  /// of them).
  Shape(std::initializer_list<int64_t> extents);
  /// From extents of a file. Fails with Code::format on more than 8 and when the product of those
  /// that are not zero leaves int64; the sentence begins with "shape".
  static Result<Shape> make(std::span<const int64_t> extents);

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return extents_[static_cast<size_t>(axis)]; }
  std::span<const int64_t> extents() const { return {extents_.data(), static_cast<size_t>(rank_)}; }
  /// Product of all extents; 1 for a scalar.
  int64_t n_elements() const;
  /// The last extent (1 for a scalar) and the product of the others: the tensor as a matrix.
  int64_t n_cols() const { return rank_ == 0 ? 1 : extents_[static_cast<size_t>(rank_ - 1)]; }
  int64_t n_rows() const;

  bool operator==(const Shape& other) const;
  std::string to_string() const;  // "[4, 8]"

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

/// Bytes of a dense tensor; nothing when the bits leave uint64 or are no whole number of bytes.
std::optional<uint64_t> tensor_bytes(const Shape& shape, Dtype dtype);

}  // namespace mm2
