#include "kernels/cpu/common/pack.h"

#include <immintrin.h>

#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/transpose.h"

namespace mm2::kernels::avx512 {
namespace {

using layout::Codes;

// 128 codes of 4 bits, a byte each, as 16 dwords of nibbles. Lane l holds dwords 2 l, 2 l + 1, and
// 2 l + 8, 2 l + 9: kNibbleSteps.
__m512i nibbles(const uint8_t* from) {
  const __m512i even_odd =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
  const __m512i weights = _mm512_set1_epi16(16 << 8 | 1);  // low nibble, high nibble
  const __m512i a = _mm512_shuffle_epi8(_mm512_loadu_si512(from), even_odd);
  const __m512i b = _mm512_shuffle_epi8(_mm512_loadu_si512(from + 64), even_odd);
  return _mm512_packus_epi16(_mm512_maddubs_epi16(a, weights), _mm512_maddubs_epi16(b, weights));
}

constexpr int kNibbleSteps[16] = {0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15};
constexpr int kPlainSteps[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

struct Squares {
  static constexpr int64_t kRows = 16, kSteps = 16;

  template <Codes codes>
  static void square(const uint8_t* from, int64_t stride, char* const* to, int64_t lane) {
    constexpr bool of_nibbles = codes == layout::kNibbles || codes == layout::kRing;
    constexpr const int* steps = of_nibbles ? kNibbleSteps : kPlainSteps;
    __m512i v[16];
    for (int i = 0; i < 16; ++i) {
      v[i] = of_nibbles ? nibbles(from + i * stride) : _mm512_loadu_si512(from + i * stride);
      if (codes == layout::kRing) v[i] = ring(v[i]);
    }
    transpose(v);
    // Four rows of four bytes: first the low words of all, then the high ones.
    const __m512i halves =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    for (int s = 0; s < 16; ++s) {
      if (codes == layout::kBytes) v[s] = _mm512_shuffle_epi8(v[s], halves);
      _mm512_stream_si512(reinterpret_cast<__m512i*>(to[steps[s]] + 4 * lane), v[s]);
    }
  }

  static void scales(int32_t number, const float* from, int32_t stride, char* to) {
    const __m512i each = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i at = _mm512_mullo_epi32(each, _mm512_set1_epi32(stride));
    const __m512i bits = _mm512_i32gather_epi32(at, from, 4);
    auto* words = reinterpret_cast<__m256i*>(to);
    auto* bytes = reinterpret_cast<__m128i*>(to);
    if (number == kF32) _mm512_storeu_si512(to, bits);
    if (number == kBF16)
      _mm256_storeu_si256(words, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
    if (number == kF16) _mm256_storeu_si256(words, _mm512_cvtps_ph(_mm512_castsi512_ps(bits), 0));
    if (number == kE8M0) _mm_storeu_si128(bytes, _mm512_cvtepi32_epi8(_mm512_srli_epi32(bits, 23)));
    if (number == common::kRingScale) {
      // E << 3 | m, the float's exponent counted down from 8 (135)
      const __m512i down = _mm512_sub_epi32(_mm512_set1_epi32(135), _mm512_srli_epi32(bits, 23));
      const __m512i m = _mm512_and_si512(_mm512_srli_epi32(bits, 20), _mm512_set1_epi32(7));
      const __m512i code = _mm512_or_si512(_mm512_slli_epi32(down, 3), m);
      _mm_storeu_si128(bytes, _mm512_cvtepi32_epi8(code));
    }
  }
};

}  // namespace

void pack(const MatrixRows* rows, void* packed) {
  if (rows->code_layout == kByteEach) {
    common::pack<Squares>(rows, packed);
  } else {
    pack_nibbles(*rows, packed);
    pack_scales(*rows, packed);
    layout::pack_order(*rows, layout::blocks_of(rows->format, rows->n_out, rows->n_in), packed);
  }
  _mm_sfence();  // the streamed lines come before whatever tells others that they are there
}

}  // namespace mm2::kernels::avx512
