#include "kernels/cpu/common/pack.h"

#include <immintrin.h>

#include "kernels/cpu/avx2/avx2.h"

namespace mm2::kernels::avx2 {
namespace {

using layout::Codes;

__m256i load(const uint8_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

// 64 codes of 4 bits, a byte each, as 8 dwords of nibbles. Lane l holds dwords 2 l, 2 l + 1, and
// 2 l + 4, 2 l + 5: kNibbleSteps.
__m256i nibbles(const uint8_t* from) {
  const __m256i even_odd = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
  const __m256i weights = _mm256_set1_epi16(16 << 8 | 1);  // low nibble, high nibble
  const __m256i a = _mm256_shuffle_epi8(load(from), even_odd);
  const __m256i b = _mm256_shuffle_epi8(load(from + 32), even_odd);
  return _mm256_packus_epi16(_mm256_maddubs_epi16(a, weights), _mm256_maddubs_epi16(b, weights));
}

constexpr int kNibbleSteps[8] = {0, 1, 4, 5, 2, 3, 6, 7};
constexpr int kPlainSteps[8] = {0, 1, 2, 3, 4, 5, 6, 7};

// The sign of each nibble below its size.
__m256i ring(__m256i v) {
  const __m256i sizes = _mm256_and_si256(v, _mm256_set1_epi8(0x77));
  const __m256i signs = _mm256_and_si256(_mm256_srli_epi32(v, 3), _mm256_set1_epi8(0x11));
  return _mm256_or_si256(_mm256_slli_epi32(sizes, 1), signs);
}

// Dword j of v[i] becomes dword i of v[j].
void transpose(__m256i v[8]) {
  __m256i a[8];
  for (int i = 0; i < 8; i += 4) {
    const __m256i low01 = _mm256_unpacklo_epi32(v[i], v[i + 1]);
    const __m256i high01 = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    const __m256i low23 = _mm256_unpacklo_epi32(v[i + 2], v[i + 3]);
    const __m256i high23 = _mm256_unpackhi_epi32(v[i + 2], v[i + 3]);
    a[i] = _mm256_unpacklo_epi64(low01, low23);
    a[i + 1] = _mm256_unpackhi_epi64(low01, low23);
    a[i + 2] = _mm256_unpacklo_epi64(high01, high23);
    a[i + 3] = _mm256_unpackhi_epi64(high01, high23);
  }
  for (int j = 0; j < 4; ++j) {
    v[j] = _mm256_permute2x128_si256(a[j], a[4 + j], 0x20);
    v[4 + j] = _mm256_permute2x128_si256(a[j], a[4 + j], 0x31);
  }
}

struct Squares {
  static constexpr int64_t kRows = 8, kSteps = 8;

  template <Codes codes>
  static void square(const uint8_t* from, int64_t stride, char* const* to, int64_t lane) {
    constexpr bool of_nibbles = codes == layout::kNibbles || codes == layout::kRing;
    constexpr const int* steps = of_nibbles ? kNibbleSteps : kPlainSteps;
    __m256i v[8];
    for (int i = 0; i < 8; ++i) {
      v[i] = of_nibbles ? nibbles(from + i * stride) : load(from + i * stride);
      if (codes == layout::kRing) v[i] = ring(v[i]);
    }
    transpose(v);
    // Four rows of four bytes: first the low words of all, then the high ones.
    const __m256i halves = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    for (int s = 0; s < 8; ++s) {
      if (codes == layout::kBytes) v[s] = _mm256_shuffle_epi8(v[s], halves);
      _mm256_store_si256(reinterpret_cast<__m256i*>(to[steps[s]] + 4 * lane), v[s]);
    }
  }

  // Dwords below 2^16 as words.
  static __m128i words(__m256i v) {
    const __m256i packed = _mm256_packus_epi32(v, v);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
  }

  static void scales(int32_t number, const float* from, int32_t stride, char* to) {
    const __m256i each = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i at = _mm256_mullo_epi32(each, _mm256_set1_epi32(stride));
    const __m256i bits = _mm256_i32gather_epi32(reinterpret_cast<const int*>(from), at, 4);
    auto* eight = reinterpret_cast<__m128i*>(to);
    if (number == kF32) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bits);
    if (number == kBF16) _mm_storeu_si128(eight, words(_mm256_srli_epi32(bits, 16)));
    if (number == kF16) _mm_storeu_si128(eight, _mm256_cvtps_ph(_mm256_castsi256_ps(bits), 0));
    __m256i code = _mm256_srli_epi32(bits, 23);
    if (number == common::kRingScale) {
      // E << 3 | m, the float's exponent counted down from 8 (135)
      const __m256i m = _mm256_and_si256(_mm256_srli_epi32(bits, 20), _mm256_set1_epi32(7));
      const __m256i down = _mm256_sub_epi32(_mm256_set1_epi32(135), code);
      code = _mm256_or_si256(_mm256_slli_epi32(down, 3), m);
    } else if (number != kE8M0) {
      return;
    }
    _mm_storel_epi64(eight, _mm_packus_epi16(words(code), words(code)));
  }
};

}  // namespace

void pack(const MatrixRows* rows, void* packed) {
  common::pack<Squares>(rows, packed);
}

}  // namespace mm2::kernels::avx2
