#include "tensor/shape.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "base/checked.h"

namespace mm2 {

Shape::Shape(std::initializer_list<int64_t> extents) {
  for (const int64_t extent : extents) {
    if (rank_ == kMaxRank) break;
    extents_[static_cast<size_t>(rank_++)] = extent;
  }
}

Result<Shape> Shape::make(std::span<const int64_t> extents) {
  if (extents.size() > kMaxRank) {
    return error(Code::format, "shape has ", extents.size(), " dimensions, at most ", kMaxRank,
                 " are supported");
  }
  Shape shape;
  int64_t product = 1;
  for (const int64_t extent : extents) {
    if (extent < 0) return error(Code::format, "shape has the negative dimension ", extent);
    shape.extents_[static_cast<size_t>(shape.rank_++)] = extent;
    const std::optional<int64_t> next = checked_mul(product, std::max<int64_t>(extent, 1));
    if (!next) {
      return error(Code::format, "shape [", absl::StrJoin(extents, ", "),
                   "]: the element count overflows 64 bits");
    }
    product = *next;
  }
  return shape;
}

int64_t Shape::n_elements() const {
  int64_t product = 1;
  for (const int64_t extent : extents()) product *= extent;
  return product;
}

int64_t Shape::n_rows() const {
  int64_t product = 1;
  for (int axis = 0; axis + 1 < rank_; ++axis) product *= extents_[static_cast<size_t>(axis)];
  return product;
}

bool Shape::operator==(const Shape& other) const {
  return std::ranges::equal(extents(), other.extents());
}

std::string Shape::to_string() const {
  return absl::StrCat("[", absl::StrJoin(extents(), ", "), "]");
}

std::optional<uint64_t> tensor_bytes(const Shape& shape, Dtype dtype) {
  const auto bits = checked_mul(static_cast<uint64_t>(shape.n_elements()),
                                static_cast<uint64_t>(dtype_bits(dtype)));
  if (!bits || *bits % 8 != 0) return std::nullopt;
  return *bits / 8;
}

}  // namespace mm2
