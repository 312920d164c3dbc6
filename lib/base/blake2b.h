// BLAKE2b (RFC 7693) with up to 64 bytes of key: a hash that nobody can steer without the key.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace mm2 {

using Digest = std::array<uint64_t, 4>;  // 256 bits, as the eight-byte numbers of the RFC

class Blake2b {
 public:
  /// A digest of 32 bytes. key: 0 to 64 bytes.
  explicit Blake2b(std::span<const std::byte> key = {});

  void add(const void* data, size_t n);
  /// Of everything added; the object is used up. Nothing here allocates.
  Digest finish();

 private:
  static constexpr size_t kBlock = 128;

  void compress(bool last);

  std::array<uint64_t, 8> state_;
  std::array<std::byte, kBlock> block_{};
  size_t filled_ = 0;     // of block_
  uint64_t counted_ = 0;  // bytes that were compressed
};

}  // namespace mm2
