// Owned memory from the host's allocator.
#pragma once

#include <cstddef>
#include <memory>

#include "base/host.h"
#include "base/status.h"

namespace mm2 {

/// Move-only and aligned; its bytes are not initialised. Never throws.
class Buffer {
 public:
  static constexpr size_t kAlignment = 64;

  Buffer() = default;
  /// `size` bytes, or Code::out_of_memory naming the size; Code::invalid_argument when the allocator
  /// does not keep to `alignment`, a power of two. No memory is taken for size 0.
  static Result<Buffer> make(const std::shared_ptr<Allocator>& allocator, size_t size,
                             size_t alignment = kAlignment);
  ~Buffer() { reset(); }
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_);
  }
  void reset();

 private:
  std::shared_ptr<Allocator> allocator_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  size_t alignment_ = kAlignment;
};

}  // namespace mm2
