#include "tools/hash.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tensor/convert.h"
#include "tools/tool_options.h"
#include "tools/value_scan.h"

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

TEST_CASE("value scan: every F16, BF16 and E4M3 code is judged as its value says") {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const auto bits = static_cast<uint16_t>(code);
    for (const Dtype dtype : {Dtype::f16, Dtype::bf16}) {
      const float value = dtype == Dtype::f16 ? f16_to_f32(bits) : bf16_to_f32(bits);
      const ValueCounts counts = scan_values(dtype, &bits, 1);
      REQUIRE(counts.n_nan == (std::isnan(value) ? 1 : 0));
      REQUIRE(counts.n_infinite == (std::isinf(value) ? 1 : 0));
    }
    if (code > 255) continue;
    const auto byte = static_cast<uint8_t>(code);
    REQUIRE(scan_values(Dtype::f8_e4m3, &byte, 1).n_nan == (std::isnan(e4m3_to_f32(byte)) ? 1 : 0));
  }
}

TEST_CASE("value scan: counts and the first place, in long, unaligned data of floats and doubles") {
  constexpr size_t kCount = 10007;
  std::vector<float> floats(kCount, -1.5f);
  floats[5000] = std::numeric_limits<float>::infinity();
  floats[4999] = std::numeric_limits<float>::quiet_NaN();
  floats[kCount - 1] = -std::numeric_limits<float>::infinity();
  std::vector<char> bytes(kCount * 4 + 1);
  std::memcpy(bytes.data() + 1, floats.data(), kCount * 4);
  const ValueCounts counts = scan_values(Dtype::f32, bytes.data() + 1, kCount);
  CHECK(counts.n_nan == 1);
  CHECK(counts.n_infinite == 2);
  CHECK(counts.first == 4999);
  const double doubles[3] = {0, std::numeric_limits<double>::max(),
                             std::numeric_limits<double>::quiet_NaN()};
  CHECK(scan_values(Dtype::f64, doubles, 3).first == 2);
  CHECK(scan_values(Dtype::f64, doubles, 2).n_nan == 0);
  CHECK_FALSE(has_special_values(Dtype::i32));
}

TEST_CASE("glob: stars and question marks") {
  CHECK(matches_glob("model.layers.3.w1", "*.w1"));
  CHECK(matches_glob("model.layers.3.w1", "model.*.?.w?"));
  CHECK(matches_glob("", "*"));
  CHECK(matches_glob("abab", "*ab"));
  CHECK_FALSE(matches_glob("abc", "ab"));
  CHECK_FALSE(matches_glob("ab", "ab?"));
  CHECK_FALSE(matches_glob("model.layers.3.w1", "*.w2"));
  CHECK_FALSE(matches_glob(std::string(20000, 'a'), "*a*a*a*a*a*a*b"));
}
