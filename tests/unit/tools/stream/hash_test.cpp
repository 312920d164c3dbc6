#include "tools/stream/hash.h"

#include <catch2/catch.hpp>

using namespace mm2;

namespace {

std::string digest(HashKind kind, const std::string& text, size_t piece = SIZE_MAX) {
  Hasher hasher(kind);
  hasher.begin();
  for (size_t at = 0; at < text.size(); at += std::min(piece, text.size())) {
    hasher.update(text.data() + at, std::min(piece, text.size() - at));
  }
  return hasher.finish();
}

}  // namespace

TEST_CASE("hash: SHA-256 of the examples of FIPS 180-4") {
  CHECK(digest(HashKind::sha256, "") ==
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(digest(HashKind::sha256, "abc") ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(digest(HashKind::sha256, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(digest(HashKind::sha256, std::string(1000000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("hash: any cutting of the data gives the same digest") {
  const std::string text(1000, 'q');
  for (const HashKind kind : {HashKind::sha256, HashKind::xxh3}) {
    const std::string whole = digest(kind, text);
    for (const size_t piece : {1, 3, 55, 63, 64, 65, 128, 999})
      CHECK(digest(kind, text, piece) == whole);
    CHECK(digest(kind, text + "q") != whole);
  }
  // The library's own test vector.
  CHECK(digest(HashKind::xxh3, "") == "99aa06d3014798d86001c324468d497f");
}
