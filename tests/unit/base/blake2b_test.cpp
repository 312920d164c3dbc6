// BLAKE2b against RFC 7693 and Python's hashlib.
#include "base/blake2b.h"

#include <cstring>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace {

std::string hex(const mm2::Digest& digest) {
  std::string text;
  for (size_t i = 0; i < sizeof digest; ++i) {
    unsigned char byte;
    std::memcpy(&byte, reinterpret_cast<const char*>(digest.data()) + i, 1);
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

// 0, 1, 2, ... n - 1.
std::vector<std::byte> counting(size_t n) {
  std::vector<std::byte> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(i);
  return bytes;
}

}  // namespace

TEST_CASE("blake2b: digests are those of hashlib, with and without a key, around the block size") {
  // hashlib.blake2b(bytes(range(n)), digest_size=32, key=bytes(range(k))).hexdigest()
  struct Vector {
    size_t n, k;
    const char* digest;
  };
  const Vector vectors[] = {
      {0, 0, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8"},
      {3, 0, "3d8c3d594928271f44aad7a04b177154806867bcf918e1549c0bc16f9da2b09b"},
      {127, 0, "f2fe67ff342e21b8f45e8f2e0bcd1d9243245d50ee6c78042e9c491388791c72"},
      {128, 0, "c3582f71ebb2be66fa5dd750f80baae97554f3b015663c8be377cfcb2488c1d1"},
      {129, 0, "f7f3c46ba2564ff4c4c162da1f5b605f9f1c4aa6a20652a9f9a337c1a2f5b9c9"},
      {256, 0, "39a7eb9fedc19aabc83425c6755dd90e6f9d0c804964a1f4aaeea3b9fb599835"},
      {0, 32, "4e51e7a913fc80137da52880fecca175bf81e117d5c68126dc2774033517ea0d"},
      {1, 32, "41ff93a4eaeebd3b78a93438a6f62a92ab5959c859e682b72c7def406197ca4d"},
      {128, 32, "138893f1631ef3165629515d6ed800da3771b7926dced294205c7507351deebc"},
      {200, 64, "c4d2b178963d16d8fbf03adbcddb85e2a2d767d4fa80d396a311c6b80c9f5669"},
      {255, 1, "12a4688b12808b2e94cd8afadc29d6ce1d8b0db16c615bf0cb1961ae00d73f0d"}};
  for (const Vector& v : vectors) {
    INFO(v.n << " bytes, " << v.k << " of key");
    mm2::Blake2b whole(counting(v.k));
    whole.add(counting(v.n).data(), v.n);
    CHECK(hex(whole.finish()) == v.digest);
    mm2::Blake2b pieces(counting(v.k));
    for (const std::byte byte : counting(v.n)) pieces.add(&byte, 1);
    CHECK(hex(pieces.finish()) == v.digest);
  }
}
