#include "tools/stream/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "absl/strings/escaping.h"

namespace mm2 {
namespace {

std::string hexadecimal(std::span<const unsigned char> bytes) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

constexpr std::array<uint32_t, 64> kRound = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

}  // namespace

void Sha256::block(const unsigned char* bytes) {
  std::array<uint32_t, 64> w;
  for (size_t i = 0; i < 16; ++i) {
    w[i] = uint32_t{bytes[4 * i]} << 24 | uint32_t{bytes[4 * i + 1]} << 16 |
           uint32_t{bytes[4 * i + 2]} << 8 | uint32_t{bytes[4 * i + 3]};
  }
  for (size_t i = 16; i < 64; ++i) {
    const uint32_t a = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
    const uint32_t b = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + a + w[i - 7] + b;
  }
  auto [a, b, c, d, e, f, g, h] = state_;
  for (size_t i = 0; i < 64; ++i) {
    const uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
    const uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }
  const std::array<uint32_t, 8> added = {a, b, c, d, e, f, g, h};
  for (size_t i = 0; i < 8; ++i) state_[i] += added[i];
}

void Sha256::update(const void* data, size_t n) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  length_ += n;
  while (n > 0) {
    if (n_pending_ == 0 && n >= pending_.size()) {
      block(bytes);
      bytes += pending_.size();
      n -= pending_.size();
      continue;
    }
    const size_t taken = std::min(n, pending_.size() - n_pending_);
    std::memcpy(pending_.data() + n_pending_, bytes, taken);
    n_pending_ += taken;
    bytes += taken;
    n -= taken;
    if (n_pending_ < pending_.size()) return;
    block(pending_.data());
    n_pending_ = 0;
  }
}

std::string Sha256::finish() {
  const uint64_t bits = length_ * 8;
  const unsigned char one = 0x80, zero = 0;
  update(&one, 1);
  while (n_pending_ != 56) update(&zero, 1);
  std::array<unsigned char, 8> tail;
  for (size_t i = 0; i < 8; ++i) tail[i] = static_cast<unsigned char>(bits >> (56 - 8 * i));
  update(tail.data(), tail.size());
  std::array<unsigned char, 32> digest;
  for (size_t i = 0; i < 32; ++i)
    digest[i] = static_cast<unsigned char>(state_[i / 4] >> (24 - 8 * (i % 4)));
  return hexadecimal(digest);
}

struct Hasher::Xxh3 {
  XXH3_state_t state;
};

Hasher::Hasher(HashKind kind) : kind_(kind) {
  if (kind == HashKind::xxh3) xxh3_ = std::make_unique<Xxh3>();
}

Hasher::~Hasher() = default;

void Hasher::begin() {
  if (kind_ == HashKind::xxh3) XXH3_128bits_reset(&xxh3_->state);
  if (kind_ == HashKind::sha256) sha256_ = Sha256();
}

void Hasher::update(const void* data, size_t n) {
  if (kind_ == HashKind::xxh3) XXH3_128bits_update(&xxh3_->state, data, n);
  if (kind_ == HashKind::sha256) sha256_.update(data, n);
}

std::string Hasher::finish() {
  if (kind_ == HashKind::sha256) return sha256_.finish();
  if (kind_ == HashKind::none) return {};
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&xxh3_->state));
  return hexadecimal(canonical.digest);
}

std::string xxh3_of(std::string_view text) {
  Hasher hasher(HashKind::xxh3);
  hasher.begin();
  hasher.update(text.data(), text.size());
  return hasher.finish();
}

const char* hash_name(HashKind kind) {
  return kind == HashKind::sha256 ? "sha256" : kind == HashKind::xxh3 ? "xxh3-128" : "none";
}

}  // namespace mm2
