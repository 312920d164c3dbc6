#include "tools/value_scan.h"

#include <cstring>

namespace mm2 {
namespace {

// IEEE-like formats: all exponent bits set is infinity when the fraction is zero, else NaN.
template <typename Word>
ValueCounts scan_ieee(const void* data, size_t n, Word magnitude_mask, Word infinity) {
  const auto* bytes = static_cast<const char*>(data);
  ValueCounts counts;
  constexpr size_t kBlock = 4096;
  for (size_t start = 0; start < n; start += kBlock) {
    const size_t end = start + kBlock < n ? start + kBlock : n;
    // Almost every block is clean, so its elements are only counted; the compiler makes vector code
    // of this loop.
    size_t n_special = 0;
    for (size_t i = start; i < end; ++i) {
      Word word;
      std::memcpy(&word, bytes + i * sizeof(Word), sizeof(Word));
      n_special += static_cast<Word>(word & magnitude_mask) >= infinity ? 1 : 0;
    }
    if (n_special == 0) continue;
    for (size_t i = start; i < end; ++i) {
      Word word;
      std::memcpy(&word, bytes + i * sizeof(Word), sizeof(Word));
      word = static_cast<Word>(word & magnitude_mask);
      if (word < infinity) continue;
      ++(word == infinity ? counts.n_infinite : counts.n_nan);
      if (counts.first == UINT64_MAX) counts.first = i;
    }
  }
  return counts;
}

// Formats of one byte without infinities: one magnitude is NaN.
ValueCounts scan_bytes(const void* data, size_t n, unsigned char mask, unsigned char nan) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  ValueCounts counts;
  for (size_t i = 0; i < n; ++i) {
    if ((bytes[i] & mask) != nan) continue;
    ++counts.n_nan;
    if (counts.first == UINT64_MAX) counts.first = i;
  }
  return counts;
}

}  // namespace

bool has_special_values(Dtype dtype) {
  switch (dtype) {
    case Dtype::f64:
    case Dtype::f32:
    case Dtype::f16:
    case Dtype::bf16:
    case Dtype::f8_e4m3:
    case Dtype::f8_e5m2:
    case Dtype::f8_e8m0:
    case Dtype::f8_e4m3fnuz:
    case Dtype::f8_e5m2fnuz:
    case Dtype::c64:
      return true;
    default:
      return false;
  }
}

ValueCounts scan_values(Dtype dtype, const void* data, size_t n) {
  switch (dtype) {
    case Dtype::f64:
      return scan_ieee<uint64_t>(data, n, 0x7fffffffffffffffu, 0x7ff0000000000000u);
    case Dtype::c64:
      n *= 2;
      [[fallthrough]];
    case Dtype::f32:
      return scan_ieee<uint32_t>(data, n, 0x7fffffffu, 0x7f800000u);
    case Dtype::f16:
      return scan_ieee<uint16_t>(data, n, 0x7fff, 0x7c00);
    case Dtype::bf16:
      return scan_ieee<uint16_t>(data, n, 0x7fff, 0x7f80);
    case Dtype::f8_e5m2:
      return scan_ieee<uint8_t>(data, n, 0x7f, 0x7c);
    case Dtype::f8_e4m3:
      return scan_bytes(data, n, 0x7f, 0x7f);
    case Dtype::f8_e8m0:
      return scan_bytes(data, n, 0xff, 0xff);
    case Dtype::f8_e4m3fnuz:
    case Dtype::f8_e5m2fnuz:
      return scan_bytes(data, n, 0xff, 0x80);
    default:
      return {};
  }
}

}  // namespace mm2
