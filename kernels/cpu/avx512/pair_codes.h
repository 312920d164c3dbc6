// How packed codes become pairs of BF16, 16 rows at a time: K even in the low half of each dword, K
// odd in the high one, as vdpbf16ps takes them. A policy has
//   kPairs           pairs of K in one step
//   kStepBytes       bytes of a step of 64 rows
//   kTile            tokens that fit the registers beside 32 rows and its tables
//   pair<p>(step, v) pair p of rows 16 v .. 16 v + 15 of a step
// What two pairs share the compiler computes once.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::avx512 {
namespace {

inline __m512i load512(const void* at) {
  return _mm512_loadu_si512(at);
}

struct Bf16Codes {
  static constexpr int kPairs = 1;
  static constexpr int64_t kStepBytes = 256;
  static constexpr int kTile = 12;
  template <int p>
  __m512i pair(const char* step, int v) const {
    return load512(step + 64 * v);
  }
};

/// Nibbles by a table of 16 words, twice: unsigned integers less what is in the middle, or E2M1.
struct NibbleCodes {
  static constexpr int kPairs = 4;
  static constexpr int64_t kStepBytes = 256;
  static constexpr int kTile = 12;
  __m512i table;

  explicit NibbleCodes(const float* numbers) {
    alignas(64) uint16_t words[32];
    for (int i = 0; i < 32; ++i) words[i] = f32_to_bf16(numbers[i % 16]);
    table = load512(words);
  }
  // Of an index five bits are looked at; the fifth chooses between two equal halves.
  template <int p>
  __m512i pair(const char* step, int v) const {
    return _mm512_permutexvar_epi16(_mm512_srli_epi16(load512(step + 64 * v), 4 * p), table);
  }
};

inline NibbleCodes int4_codes(float middle) {
  float numbers[16];
  for (int i = 0; i < 16; ++i) numbers[i] = static_cast<float>(i) - middle;
  return NibbleCodes(numbers);
}

inline NibbleCodes mxfp4_codes() {
  float numbers[16];
  for (int i = 0; i < 16; ++i) numbers[i] = e2m1_to_f32(static_cast<uint8_t>(i));
  return NibbleCodes(numbers);
}

/// E4M3 by tables of 128 bytes: the high and the low byte of BF16 without its sign.
struct Fp8Codes {
  static constexpr int kPairs = 2;
  static constexpr int64_t kStepBytes = 256;
  static constexpr int kTile = 10;
  __m512i high[2], low[2];

  Fp8Codes() {
    alignas(64) uint8_t bytes[2][128];
    for (int i = 0; i < 128; ++i) {
      const uint16_t word = f32_to_bf16(e4m3_to_f32(static_cast<uint8_t>(i)));
      bytes[0][i] = static_cast<uint8_t>(word), bytes[1][i] = static_cast<uint8_t>(word >> 8);
    }
    for (int i = 0; i < 2; ++i) {
      low[i] = load512(bytes[0] + 64 * i);
      high[i] = load512(bytes[1] + 64 * i);
    }
  }
  template <int p>
  __m512i pair(const char* step, int v) const {
    const __m512i c = load512(step + 64 * v);
    const __m512i l = _mm512_permutex2var_epi8(low[0], c, low[1]);
    __m512i h = _mm512_permutex2var_epi8(high[0], c, high[1]);
    h = _mm512_ternarylogic_epi32(h, c, _mm512_set1_epi8(static_cast<char>(0x80)), 0xF8);
    return p == 0 ? _mm512_unpacklo_epi8(l, h) : _mm512_unpackhi_epi8(l, h);
  }
};

/// Unsigned bytes less what is in the middle; no more than 8 significant bits.
struct Int8Codes {
  static constexpr int kPairs = 2;
  static constexpr int64_t kStepBytes = 256;
  static constexpr int kTile = 10;
  __m512 middle;

  explicit Int8Codes(float middle_) : middle(_mm512_set1_ps(middle_)) {}
  template <int p>
  __m512i pair(const char* step, int v) const {
    const __m512i c = load512(step + 64 * v), zero = _mm512_setzero_si512();
    // (K even, K odd) in the low halves of dwords
    const __m512i words = p == 0 ? _mm512_unpacklo_epi16(c, zero) : _mm512_unpackhi_epi16(c, zero);
    const __m512i even = _mm512_and_si512(words, _mm512_set1_epi32(0xFF));
    const __m512 first = _mm512_sub_ps(_mm512_cvtepi32_ps(even), middle);
    const __m512 second = _mm512_sub_ps(_mm512_cvtepi32_ps(_mm512_srli_epi32(words, 8)), middle);
    return _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(first), 16),
                           _mm512_castps_si512(second));
  }
};

/// E2M1 times the row's E4M3: the mantissa of the scale and the size of the code choose a BF16, whose
/// exponent the scale's then lowers; saturation keeps 0 what it is.
struct RingCodes {
  static constexpr int kPairs = 8;
  static constexpr int64_t kStepBytes = 576;
  static constexpr int kTile = 8;
  __m512i table[2], spread[4];

  RingCodes() {
    alignas(64) uint16_t words[64];
    for (int i = 0; i < 64; ++i) {
      const float m = 1.0f + static_cast<float>(i / 8) / 8.0f;
      words[i] = f32_to_bf16(256.0f * m * e2m1_to_f32(static_cast<uint8_t>(i % 8)));
    }
    table[0] = load512(words), table[1] = load512(words + 32);
    for (int v = 0; v < 4; ++v) {
      alignas(64) uint8_t index[64];
      for (int i = 0; i < 64; ++i) index[i] = static_cast<uint8_t>(16 * v + i / 4);
      spread[v] = load512(index);
    }
  }
  template <int p>
  __m512i pair(const char* step, int v) const {
    const __m512i scale =
        _mm512_maskz_permutexvar_epi8(0x5555555555555555u, spread[v], load512(step + 512));
    const __m512i mantissa = _mm512_slli_epi16(scale, 3);
    const __m512i exponent =
        _mm512_and_si512(_mm512_slli_epi16(scale, 4), _mm512_set1_epi16(0x0F80));
    const __m512i word = load512(step + 256 * (p / 4) + 64 * v);
    const __m512i c = _mm512_shrdi_epi16(word, word, 4 * (p % 4) + 1);
    const __m512i index = _mm512_ternarylogic_epi32(mantissa, c, _mm512_set1_epi16(7), 0xF8);
    const __m512i size =
        _mm512_subs_epu16(_mm512_permutex2var_epi16(table[0], index, table[1]), exponent);
    return _mm512_ternarylogic_epi32(size, c, _mm512_set1_epi16(int16_t(0x8000)), 0xF8);
  }
};

}  // namespace
}  // namespace mm2::kernels::avx512
