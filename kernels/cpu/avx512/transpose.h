// What packing does in registers.
#pragma once

#include <immintrin.h>

#include <stdint.h>

namespace mm2::kernels::avx512 {
namespace {

inline void stream(char* to, __m512i v) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), v);
}

// The sign of each nibble below its size.
inline __m512i ring(__m512i v) {
  const __m512i sizes = _mm512_and_si512(v, _mm512_set1_epi8(0x77));
  const __m512i signs = _mm512_and_si512(_mm512_srli_epi32(v, 3), _mm512_set1_epi8(0x11));
  return _mm512_or_si512(_mm512_slli_epi32(sizes, 1), signs);
}

// Dword j of v[i] becomes dword i of v[j].
inline void transpose(__m512i v[16]) {
  __m512i a[16];
  for (int i = 0; i < 16; i += 4) {
    const __m512i low01 = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    const __m512i high01 = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    const __m512i low23 = _mm512_unpacklo_epi32(v[i + 2], v[i + 3]);
    const __m512i high23 = _mm512_unpackhi_epi32(v[i + 2], v[i + 3]);
    a[i] = _mm512_unpacklo_epi64(low01, low23);
    a[i + 1] = _mm512_unpackhi_epi64(low01, low23);
    a[i + 2] = _mm512_unpacklo_epi64(high01, high23);
    a[i + 3] = _mm512_unpackhi_epi64(high01, high23);
  }
  // a[i + j]: column j of each lane, rows i .. i + 3
  for (int j = 0; j < 4; ++j) {
    const __m512i even_top = _mm512_shuffle_i32x4(a[j], a[4 + j], 0x88);
    const __m512i odd_top = _mm512_shuffle_i32x4(a[j], a[4 + j], 0xDD);
    const __m512i even_bottom = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0x88);
    const __m512i odd_bottom = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0xDD);
    v[j] = _mm512_shuffle_i32x4(even_top, even_bottom, 0x88);
    v[4 + j] = _mm512_shuffle_i32x4(odd_top, odd_bottom, 0x88);
    v[8 + j] = _mm512_shuffle_i32x4(even_top, even_bottom, 0xDD);
    v[12 + j] = _mm512_shuffle_i32x4(odd_top, odd_bottom, 0xDD);
  }
}

}  // namespace
}  // namespace mm2::kernels::avx512
