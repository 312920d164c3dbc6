// How each kind of packed codes becomes floats, 8 rows at a time. A policy has
//   kCols                columns of one step
//   kStepBytes           bytes of a step of 64 rows
//   numbers(step, v, w)  rows 8 v .. 8 v + 7 of a step: w[k] for each column, to be added in the
//                        order 1 0 3 2 5 4 ...
#pragma once

#include <immintrin.h>

#include "kernels/api/numbers.h"
#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::avx2 {
namespace {

inline __m256i load256(const void* at) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(at));
}

struct Bf16Codes {
  static constexpr int kCols = 2;
  static constexpr int64_t kStepBytes = 256;
  void numbers(const char* step, int v, __m256* w) const {
    const __m256i c = load256(step + 32 * v);
    w[0] = _mm256_castsi256_ps(_mm256_slli_epi32(c, 16));
    w[1] = _mm256_castsi256_ps(_mm256_and_si256(c, _mm256_set1_epi32(int(0xFFFF0000))));
  }
};

struct F16Codes {
  static constexpr int kCols = 2;
  static constexpr int64_t kStepBytes = 256;
  // Words of 8 dwords in a row, low halves first.
  static __m256 widen(__m256i words) {
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(words, words), 0xD8);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
  }
  void numbers(const char* step, int v, __m256* w) const {
    const __m256i c = load256(step + 32 * v);
    w[0] = widen(_mm256_and_si256(c, _mm256_set1_epi32(0xFFFF)));
    w[1] = widen(_mm256_srli_epi32(c, 16));
  }
};

struct F32Codes {
  static constexpr int kCols = 2;
  static constexpr int64_t kStepBytes = 512;
  void numbers(const char* step, int v, __m256* w) const {
    const float* at = reinterpret_cast<const float*>(step) + 8 * v;
    w[0] = _mm256_loadu_ps(at);
    w[1] = _mm256_loadu_ps(at + layout::kBlockRows);
  }
};

/// Unsigned 4 bits less what is in the middle, by tables of 16 bytes: the high and the low byte of
/// BF16. The bytes of four rows come into such an order first that both bytes of a number meet.
struct Int4Codes {
  static constexpr int kCols = 8;
  static constexpr int64_t kStepBytes = 256;
  __m256i order, high, low;

  explicit Int4Codes(float middle) {
    alignas(32) uint8_t bytes[3][32];
    for (int i = 0; i < 16; ++i) {
      const uint16_t word = f32_to_bf16(static_cast<float>(i) - middle);
      bytes[0][i] = static_cast<uint8_t>(word >> 8);
      bytes[1][i] = static_cast<uint8_t>(word);
      // Of dword r the bytes with columns 0 1 (and 2 3), then those with 4 5 (and 6 7).
      bytes[2][i] = static_cast<uint8_t>(i % 8 / 2 * 4 + i % 2 * 2 + i / 8);
    }
    for (auto& table : bytes) memcpy(table + 16, table, 16);
    high = load256(bytes[0]), low = load256(bytes[1]), order = load256(bytes[2]);
  }
  // Of the codes in the low halves of bytes: the first pair of columns, then the second.
  void pairs(__m256i codes, __m256* first, __m256* second) const {
    const __m256i h = _mm256_shuffle_epi8(high, codes), l = _mm256_shuffle_epi8(low, codes);
    split(_mm256_unpacklo_epi8(l, h), first);
    split(_mm256_unpackhi_epi8(l, h), second);
  }
  void numbers(const char* step, int v, __m256* w) const {
    const __m256i c = _mm256_shuffle_epi8(load256(step + 32 * v), order);
    const __m256i nibble = _mm256_set1_epi8(15);
    pairs(_mm256_and_si256(c, nibble), w, w + 4);
    pairs(_mm256_and_si256(_mm256_srli_epi16(c, 4), nibble), w + 2, w + 6);
  }

 private:
  static void split(__m256i words, __m256* w) {
    w[0] = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
    w[1] = _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(int(0xFFFF0000))));
  }
};

/// The sizes of E2M1 by the low three bits of each index.
inline __m256 e2m1_sizes(__m256i index) {
  const __m256 sizes = _mm256_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f);
  return _mm256_permutevar8x32_ps(sizes, index);
}

/// Size at bit `at` of each word, sign at bit `sign`.
template <int at, int sign>
__m256 e2m1(__m256i word) {
  const __m256i signs =
      _mm256_and_si256(_mm256_slli_epi32(word, 31 - sign), _mm256_set1_epi32(int(0x80000000)));
  return _mm256_xor_ps(e2m1_sizes(_mm256_srli_epi32(word, at)), _mm256_castsi256_ps(signs));
}

struct Mxfp4Codes {
  static constexpr int kCols = 8;
  static constexpr int64_t kStepBytes = 256;
  void numbers(const char* step, int v, __m256* w) const {
    const __m256i c = load256(step + 32 * v);
    w[0] = e2m1<0, 3>(c), w[2] = e2m1<4, 7>(c), w[4] = e2m1<8, 11>(c), w[6] = e2m1<12, 15>(c);
    w[1] = e2m1<16, 19>(c), w[3] = e2m1<20, 23>(c), w[5] = e2m1<24, 27>(c);
    w[7] = e2m1<28, 31>(c);
  }
};

/// Sizes and signs as layout/weights.h turns them, times the rows' scales; a record is one step.
struct RingCodes {
  static constexpr int kCols = 16;
  static constexpr int64_t kStepBytes = 576;
  static void half(const char* codes, __m256 scale, int v, __m256* w) {
    const __m256i c = load256(codes + 32 * v);
    w[0] = e2m1<1, 0>(c), w[2] = e2m1<5, 4>(c), w[4] = e2m1<9, 8>(c), w[6] = e2m1<13, 12>(c);
    w[1] = e2m1<17, 16>(c), w[3] = e2m1<21, 20>(c), w[5] = e2m1<25, 24>(c);
    w[7] = e2m1<29, 28>(c);
    for (int k = 0; k < 8; ++k) w[k] = _mm256_mul_ps(w[k], scale);
  }
  void numbers(const char* step, int v, __m256* w) const {
    const __m256i code =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(step + 512 + 8 * v)));
    const __m256i exponent = _mm256_sub_epi32(_mm256_set1_epi32(135), _mm256_srli_epi32(code, 3));
    const __m256i mantissa = _mm256_and_si256(code, _mm256_set1_epi32(7));
    const __m256 scale = _mm256_castsi256_ps(
        _mm256_or_si256(_mm256_slli_epi32(exponent, 23), _mm256_slli_epi32(mantissa, 20)));
    half(step, scale, v, w);
    half(step + 256, scale, v, w + 8);
  }
};

struct Int8Codes {
  static constexpr int kCols = 4;
  static constexpr int64_t kStepBytes = 256;
  float middle;

  void pair(__m256i words, __m256* w) const {
    const __m256 m = _mm256_set1_ps(middle);
    const __m256i even = _mm256_and_si256(words, _mm256_set1_epi32(0xFF));
    const __m256i odd = _mm256_srli_epi32(words, 8);
    w[0] = _mm256_sub_ps(_mm256_cvtepi32_ps(even), m);
    w[1] = _mm256_sub_ps(_mm256_cvtepi32_ps(odd), m);
  }
  void numbers(const char* step, int v, __m256* w) const {
    const __m256i c = load256(step + 32 * v), zero = _mm256_setzero_si256();
    pair(_mm256_unpacklo_epi16(c, zero), w);
    pair(_mm256_unpackhi_epi16(c, zero), w + 2);
  }
};

/// With its bits in place an E4M3 is 2^-120 of the float, but for codes without an exponent (0 and
/// subnormal ones), which would be subnormal there and slow. They are rare among trained weights.
struct Fp8Codes {
  static constexpr int kCols = 4;
  static constexpr int64_t kStepBytes = 256;

  /// Whether every code of a step has an exponent.
  static bool all_normal(const char* step) {
    const __m256i exponent = _mm256_set1_epi8(0x78);
    __m256i least = exponent;
    for (int v = 0; v < 8; ++v) {
      least = _mm256_min_epu8(least, _mm256_and_si256(load256(step + 32 * v), exponent));
    }
    return _mm256_movemask_epi8(_mm256_cmpeq_epi8(least, _mm256_setzero_si256())) == 0;
  }
  /// 2^-120 of the numbers of a step that is all normal.
  static void normal_numbers(const char* step, int v, __m256* w) {
    const __m256i c = load256(step + 32 * v), zero = _mm256_setzero_si256();
    place_bytes(_mm256_unpacklo_epi8(zero, c), w);
    place_bytes(_mm256_unpackhi_epi8(zero, c), w + 2);
  }
  void numbers(const char* step, int v, __m256* w) const {
    normal_numbers(step, v, w);
    for (int k = 0; k < kCols; ++k) w[k] = any_number(_mm256_castps_si256(w[k]));
  }

 private:
  // Of words with a byte at the top: the bits of the even ones, then those of the odd ones.
  static void place_bytes(__m256i words, __m256* w) {
    const __m256i mask = _mm256_set1_epi32(int(0x87F00000));
    const __m256i shifted = _mm256_srai_epi16(words, 4);
    w[0] = _mm256_castsi256_ps(_mm256_and_si256(_mm256_slli_epi32(shifted, 16), mask));
    w[1] = _mm256_castsi256_ps(_mm256_and_si256(shifted, mask));
  }
  // With 120 added to the exponent; without one the size n = 2^-7 (1 + m / 8) stands for
  // 2^-9 m = 2 n - 2^-6, which is the smaller of the two just then.
  static __m256 any_number(__m256i bits) {
    const __m256 n = _mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(120 << 23)));
    const __m256 sign = _mm256_set1_ps(-0.0f), size = _mm256_andnot_ps(sign, n);
    const __m256 lower = _mm256_sub_ps(_mm256_add_ps(size, size), _mm256_set1_ps(0x1p-6f));
    return _mm256_or_ps(_mm256_min_ps(size, lower), _mm256_and_ps(sign, n));
  }
};

}  // namespace
}  // namespace mm2::kernels::avx2
