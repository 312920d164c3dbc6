// How packed codes become floats, 16 rows at a time, columns in the order in which they are added: of
// each pair the odd one first. A type of codes has
//   kCols               columns of one step
//   kStepBytes          bytes of a step of 64 rows
//   kStreams            blocks that one row of activations reads side by side
//   floats(step, v, w)  rows 16 v .. 16 v + 15 of a step: w[kCols]
#pragma once

#include <immintrin.h>

#include "kernels/api/numbers.h"
#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::avx512 {
namespace {

inline __m512i load512(const void* at) {
  return _mm512_loadu_si512(at);
}

inline __m512 as_floats(__m512i bits) {
  return _mm512_castsi512_ps(bits);
}

/// Of pairs of BF16: the odd column, then the even one.
inline void split_pairs(__m512i pairs, __m512* w) {
  w[0] = as_floats(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
  w[1] = as_floats(_mm512_slli_epi32(pairs, 16));
}

struct Bf16Floats {
  static constexpr int kCols = 2;
  static constexpr int kStreams = 6;
  static constexpr bool kF32 = false;
  static constexpr int64_t kStepBytes = 256;
  [[gnu::always_inline]] void floats(const char* step, int v, __m512* w) const {
    split_pairs(load512(step + 64 * v), w);
  }
};

struct F16Floats {
  static constexpr int kCols = 2;
  static constexpr int kStreams = 6;
  static constexpr bool kF32 = false;
  static constexpr int64_t kStepBytes = 256;
  __m512i odd_then_even;

  F16Floats() {
    alignas(64) uint16_t words[32];
    for (int i = 0; i < 16; ++i) {
      words[i] = static_cast<uint16_t>(2 * i + 1);
      words[16 + i] = static_cast<uint16_t>(2 * i);
    }
    odd_then_even = load512(words);
  }
  [[gnu::always_inline]] void floats(const char* step, int v, __m512* w) const {
    const __m512i halves = _mm512_permutexvar_epi16(odd_then_even, load512(step + 64 * v));
    w[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
    w[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
  }
};

struct F32Floats {
  static constexpr int kCols = 2;
  static constexpr int kStreams = 3;
  static constexpr bool kF32 = true;
  static constexpr int64_t kStepBytes = 512;
  [[gnu::always_inline]] void floats(const char* step, int v, __m512* w) const {
    w[0] = _mm512_loadu_ps(step + 256 + 64 * v);
    w[1] = _mm512_loadu_ps(step + 64 * v);
  }
};

/// The nibbles of a line of steps as a permutation looks at them, at the low four bits of dwords:
/// use(j, index) for column j, as they are added. A load from the middle of dwords shifts them for
/// nothing, which leaves half of the shifts. It reads up to three bytes behind the codes: scales or
/// their table are there.
template <typename Use>
[[gnu::always_inline]] inline void each_nibble(const char* line, const Use& use) {
  // Column 0 2 4 6 in the low word of a dword, 1 3 5 7 in the high one: bytes 2 0, then 3 1.
  constexpr int kByte[] = {2, 0, 3, 1};
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m512i odd = load512(line + kByte[2 * i]), even = load512(line + kByte[2 * i + 1]);
    use(4 * i, odd);
    use(4 * i + 1, even);
    use(4 * i + 2, _mm512_srli_epi32(odd, 4));
    use(4 * i + 3, _mm512_srli_epi32(even, 4));
  }
}

/// Nibbles by a table of 16 numbers.
struct NibbleFloats {
  static constexpr int kCols = 8;
  static constexpr int kStreams = 6;
  static constexpr bool kF32 = false;
  static constexpr int64_t kStepBytes = 256;
  __m512 table;

  explicit NibbleFloats(const float* numbers) : table(_mm512_loadu_ps(numbers)) {}

  [[gnu::always_inline]] void floats(const char* step, int v, __m512* w) const {
    each_nibble(
        step + 64 * v, [&](int j, __m512i index) __attribute__((always_inline)) {
          w[j] = _mm512_permutexvar_ps(index, table);
        });
  }
};

inline NibbleFloats int4_floats(float middle) {
  float numbers[16];
  for (int i = 0; i < 16; ++i) numbers[i] = static_cast<float>(i) - middle;
  return NibbleFloats(numbers);
}

inline NibbleFloats e2m1_floats() {
  float numbers[16];
  for (int i = 0; i < 16; ++i) numbers[i] = e2m1_to_f32(static_cast<uint8_t>(i));
  return NibbleFloats(numbers);
}

/// E4M3 by tables of 128 bytes: the high and the low byte of BF16 without its sign.
struct Fp8Floats {
  static constexpr int kCols = 4;
  static constexpr int kStreams = 6;
  static constexpr bool kF32 = false;
  static constexpr int64_t kStepBytes = 256;
  __m512i high[2], low[2];

  Fp8Floats() {
    alignas(64) uint8_t bytes[2][128];
    for (int i = 0; i < 128; ++i) {
      const uint16_t word = f32_to_bf16(e4m3_to_f32(static_cast<uint8_t>(i)));
      bytes[0][i] = static_cast<uint8_t>(word);
      bytes[1][i] = static_cast<uint8_t>(word >> 8);
    }
    for (int i = 0; i < 2; ++i) {
      low[i] = load512(bytes[0] + 64 * i);
      high[i] = load512(bytes[1] + 64 * i);
    }
  }
  [[gnu::always_inline]] void floats(const char* step, int v, __m512* w) const {
    const __m512i c = load512(step + 64 * v);
    const __m512i l = _mm512_permutex2var_epi8(low[0], c, low[1]);
    __m512i h = _mm512_permutex2var_epi8(high[0], c, high[1]);
    h = _mm512_ternarylogic_epi32(h, c, _mm512_set1_epi8(static_cast<char>(0x80)), 0xF8);
    split_pairs(_mm512_unpacklo_epi8(l, h), w);
    split_pairs(_mm512_unpackhi_epi8(l, h), w + 2);
  }
};

/// Unsigned bytes less what is in the middle.
struct Int8Floats {
  static constexpr int kCols = 4;
  static constexpr int kStreams = 6;
  static constexpr bool kF32 = false;
  static constexpr int64_t kStepBytes = 256;
  __m512 middle;
  __m512i spread[4];  // of each column: its byte of four rows into the low bytes of dwords

  explicit Int8Floats(float middle_) : middle(_mm512_set1_ps(middle_)) {
    const __m512i rows = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 2, 4, 6));
    const int first[] = {1, 0, 9, 8};  // bytes of columns 1 0 3 2
    for (int j = 0; j < 4; ++j) {
      const int index = static_cast<int>(0x80808000u) | first[j];
      spread[j] = _mm512_add_epi32(rows, _mm512_set1_epi32(index));
    }
  }
  [[gnu::always_inline]] void floats(const char* step, int v, __m512* w) const {
    const __m512i c = load512(step + 64 * v);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m512i number = _mm512_shuffle_epi8(c, spread[j]);
      w[j] = _mm512_sub_ps(_mm512_cvtepi32_ps(number), middle);
    }
  }
};

/// E2M1 times the row's E4M3, which is exact. The scale's bits as they lie, with the exponent turned
/// round, are 2^-8 of it; the table of sizes has the 2^8.
struct RingFloats {
  static constexpr int kCols = 16;
  static constexpr int kStreams = 3;
  static constexpr bool kF32 = false;
  static constexpr int64_t kStepBytes = 576;
  __m512 table;  // index: the sign lowest, then the size

  RingFloats() {
    float numbers[16];
    for (unsigned i = 0; i < 16; ++i) {
      numbers[i] = 256.0f * e2m1_to_f32(static_cast<uint8_t>(i >> 1 | (i & 1u) << 3));
    }
    table = _mm512_loadu_ps(numbers);
  }
  // 2^exponent of the rows' scales, exponent at least -8.
  template <int exponent>
  [[gnu::always_inline]] static __m512 scales(const char* step, int v) {
    const __m512i codes = _mm512_cvtepu8_epi32(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(step + 512 + 16 * v)));
    const __m512i bits =
        _mm512_xor_si512(_mm512_slli_epi32(codes, 20), _mm512_set1_epi32(0x3F800000));
    return as_floats(_mm512_add_epi32(bits, _mm512_set1_epi32((exponent + 8) << 23)));
  }
  [[gnu::always_inline]] void floats(const char* step, int v, __m512* w) const {
    const __m512 scale = scales<-8>(step, v);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      each_nibble(
          step + 256 * half + 64 * v, [&](int j, __m512i index) __attribute__((always_inline)) {
            w[8 * half + j] = _mm512_mul_ps(_mm512_permutexvar_ps(index, table), scale);
          });
    }
  }
  // For one activation of each column of a half, rounded to BF16: tables[j] is 2^-11 of `table` times
  // activation j. That is exact and not above the activation, so the multiply-add with the scale
  // rounds once, as one with floats() does, and no scale is multiplied on its own.
  [[gnu::always_inline]] static void add(const char* line, const __m512* tables, __m512 scale,
                                         __m512* sum) {
    each_nibble(
        line, [&](int j, __m512i index) __attribute__((always_inline)) {
          *sum = _mm512_fmadd_ps(_mm512_permutexvar_ps(index, tables[j]), scale, *sum);
        });
  }
};

/// use(codes) with the codes of a format.
template <typename Use>
static inline void with_codes(const Format& f, const Use& use) {
  const bool zeros = f.zeros != 0;
  switch (layout::codes_of(f)) {
    case layout::kNumbers:
      if (f.number == kBF16) return use(Bf16Floats{});
      if (f.number == kF16) return use(F16Floats{});
      return use(F32Floats{});
    case layout::kNibbles:
      if (f.scheme == kFp4) return use(e2m1_floats());
      return use(int4_floats(zeros ? 0.0f : 8.0f));
    case layout::kBytes:
      if (f.scheme == kFp8) return use(Fp8Floats{});
      return use(Int8Floats(zeros ? 0.0f : 128.0f));
    case layout::kRing:
      return use(RingFloats{});
  }
}

}  // namespace
}  // namespace mm2::kernels::avx512
