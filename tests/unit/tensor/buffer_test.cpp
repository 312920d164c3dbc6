#include "tensor/buffer.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <utility>

using namespace mm2;

namespace {

// Counts what is out, and has nothing above its limit.
class CountingAllocator final : public Allocator {
 public:
  explicit CountingAllocator(size_t limit) : limit_(limit) {}
  void* allocate(size_t size, size_t alignment) noexcept override {
    if (size > limit_) return nullptr;
    held += size;
    return inner_->allocate(size, alignment);
  }
  void release(void* pointer, size_t size, size_t alignment) noexcept override {
    held -= size;
    inner_->release(pointer, size, alignment);
  }
  size_t held = 0;

 private:
  size_t limit_;
  std::shared_ptr<Allocator> inner_ = default_allocator();
};

}  // namespace

TEST_CASE("buffer: aligned to 64 bytes and given back when it goes") {
  const auto memory = std::make_shared<CountingAllocator>(1000);
  {
    Result<Buffer> buffer = Buffer::make(memory, 100);
    REQUIRE(buffer.ok());
    CHECK(reinterpret_cast<uintptr_t>(buffer->data()) % 64 == 0);
    CHECK(buffer->size() == 100);
    CHECK(memory->held == 100);
    Buffer moved = *std::move(buffer);
    CHECK(memory->held == 100);
    Result<Buffer> other = Buffer::make(memory, 30);
    REQUIRE(other.ok());
    moved = *std::move(other);
    CHECK(memory->held == 30);
    CHECK(moved.size() == 30);
  }
  CHECK(memory->held == 0);
}

TEST_CASE("buffer: no memory is an error that names the size, and size 0 needs none") {
  const auto memory = std::make_shared<CountingAllocator>(10);
  const Result<Buffer> buffer = Buffer::make(memory, 4711);
  REQUIRE_FALSE(buffer.ok());
  CHECK(buffer.status().code() == Code::out_of_memory);
  CHECK(buffer.status().message().find("4711") != std::string::npos);
  const Result<Buffer> empty = Buffer::make(memory, 0);
  REQUIRE(empty.ok());
  CHECK(empty->data() == nullptr);
}

TEST_CASE("buffer: memory that is not where it was asked for is refused and given back") {
  class Askew final : public Allocator {
   public:
    void* allocate(size_t size, size_t alignment) noexcept override {
      ++held;
      return static_cast<char*>(inner->allocate(size + 16, alignment)) + 16;
    }
    void release(void* pointer, size_t size, size_t alignment) noexcept override {
      --held;
      inner->release(static_cast<char*>(pointer) - 16, size + 16, alignment);
    }
    int held = 0;
    std::shared_ptr<Allocator> inner = default_allocator();
  };
  const auto memory = std::make_shared<Askew>();
  const Result<Buffer> buffer = Buffer::make(memory, 100);
  REQUIRE_FALSE(buffer.ok());
  CHECK(buffer.status().code() == Code::invalid_argument);
  CHECK(buffer.status().message() ==
        "the allocator was asked for 100 bytes at a multiple of 64 and gave an address 16 bytes "
        "beyond one");
  CHECK(memory->held == 0);
  CHECK(Buffer::make(memory, 100, 16).ok());
  CHECK(memory->held == 0);
}
