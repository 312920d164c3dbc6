// Named tensors somewhere behind read calls: what a checkpoint looks like to those who use its
// weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace mm2 {

/// One stored tensor. `bytes` always equals what dtype and shape need.
struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::f32;
  Shape shape;
  int32_t shard = 0;    // index of its file
  uint64_t offset = 0;  // of its first byte in that file; no alignment is promised
  uint64_t bytes = 0;
};

/// All calls may come from any thread at once.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  virtual std::span<const TensorInfo> tensors() const = 0;
  /// nullptr when there is none of that name. The pointer lives as long as the source.
  virtual const TensorInfo* find(std::string_view name) const = 0;

  /// Reads n bytes of the tensor's data from byte `from` on. A range outside the tensor is
  /// Code::invalid_argument.
  virtual Status read(const TensorInfo& tensor, uint64_t from, size_t n, void* to) const = 0;

  /// The tensor's bytes in memory, or nullptr where the file cannot be mapped. They live as long as
  /// the source and may be unaligned for their type (safetensors promises nothing): copy elements
  /// out with memcpy or check first.
  virtual const std::byte* map(const TensorInfo& tensor) const = 0;

  /// These bytes of map() are wanted now: their pages are brought in at once.
  virtual void bring(const TensorInfo& /*tensor*/, uint64_t /*from*/, uint64_t /*n*/) const {}
  /// Nobody needs these bytes of map() soon: their pages may leave the process. Reading them again
  /// is slower and still right.
  virtual void let_go(const TensorInfo& /*tensor*/, uint64_t /*from*/, uint64_t /*n*/) const {}

  /// The file that holds the tensor, for messages.
  virtual std::string_view file_of(const TensorInfo& tensor) const = 0;

  /// What to call the whole in messages: its folder or file. May be empty.
  virtual std::string_view name() const { return {}; }
};

}  // namespace mm2
