#include "tensor/buffer.h"

#include <cstdint>
#include <utility>

namespace mm2 {

Result<Buffer> Buffer::make(const std::shared_ptr<Allocator>& allocator, size_t size,
                            size_t alignment) {
  Buffer buffer;
  if (size == 0) return buffer;
  buffer.data_ = static_cast<std::byte*>(allocator->allocate(size, alignment));
  if (buffer.data_ == nullptr) {
    return error(Code::out_of_memory, "no memory for ", size, " bytes");
  }
  // Kernels store whole vectors: memory that lies elsewhere would end the process in one of them.
  if (const auto beyond = reinterpret_cast<uintptr_t>(buffer.data_) % alignment; beyond != 0) {
    allocator->release(std::exchange(buffer.data_, nullptr), size, alignment);
    return error(Code::invalid_argument, "the allocator was asked for ", size,
                 " bytes at a multiple of ", alignment, " and gave an address ", beyond,
                 " bytes beyond one");
  }
  buffer.allocator_ = allocator;
  buffer.size_ = size;
  buffer.alignment_ = alignment;
  return buffer;
}

Buffer::Buffer(Buffer&& other) noexcept
    : allocator_(std::move(other.allocator_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      alignment_(other.alignment_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this == &other) return *this;
  reset();
  allocator_ = std::move(other.allocator_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  alignment_ = other.alignment_;
  return *this;
}

void Buffer::reset() {
  if (data_ != nullptr) allocator_->release(data_, size_, alignment_);
  data_ = nullptr;
  size_ = 0;
  allocator_.reset();
}

}  // namespace mm2
