// Digests of tensors: XXH3 of 128 bits, fast, against accidents; SHA-256 against people.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace mm2 {

enum class HashKind : uint8_t { none, xxh3, sha256 };

/// FIPS 180-4, in portable code.
class Sha256 {
 public:
  void update(const void* data, size_t n);
  /// 32 bytes as 64 hexadecimal digits. The object is used up.
  std::string finish();

 private:
  void block(const unsigned char* bytes);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> pending_{};
  size_t n_pending_ = 0;
  uint64_t length_ = 0;
};

/// One digest after the other over the same state.
class Hasher {
 public:
  explicit Hasher(HashKind kind);
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  void begin();
  void update(const void* data, size_t n);
  /// Hexadecimal, as the usual programs print it.
  std::string finish();

 private:
  struct Xxh3;
  HashKind kind_;
  Sha256 sha256_;
  std::unique_ptr<Xxh3> xxh3_;
};

/// XXH3 of 128 bits of a text.
std::string xxh3_of(std::string_view text);

/// "xxh3-128", "sha256"
const char* hash_name(HashKind kind);

}  // namespace mm2
