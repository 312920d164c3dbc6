// Typed, shaped memory that somebody else owns: dense and row-major.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace mm2 {

/// Read-only. `data` may be unaligned when it points into a mapped file: read elements with memcpy.
struct ConstView {
  const std::byte* data = nullptr;
  Dtype dtype = Dtype::f32;
  Shape shape;
};

struct View {
  std::byte* data = nullptr;
  Dtype dtype = Dtype::f32;
  Shape shape;
  operator ConstView() const { return {data, dtype, shape}; }  // NOLINT: implicit on purpose
};

}  // namespace mm2
