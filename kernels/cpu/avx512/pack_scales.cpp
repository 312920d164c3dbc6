// Scales and zeros beside the codes of whole blocks, streamed as the codes are: a store that reads its
// line first would cost as much as the line.
#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/transpose.h"
#include "kernels/cpu/layout/pack.h"

namespace mm2::kernels::avx512 {
namespace {

using layout::Blocks;
using layout::kBlockRows;

// 0, stride, 2 stride ..: where 16 rows are.
inline __m512i row_index(int64_t stride) {
  const __m512i each = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_mullo_epi32(each, _mm512_set1_epi32(static_cast<int>(stride)));
}

// Bytes [64 rows, 4 at a distance of `stride`] as 64 of each column.
inline void transpose_bytes(const uint8_t* from, int64_t stride, __m512i at, __m512i to[4]) {
  alignas(64) uint8_t quarters[64];  // of 16 rows the bytes of one column after the other
  for (int i = 0; i < 64; ++i) quarters[i] = static_cast<uint8_t>(i % 16 * 4 + i / 16);
  const __m512i by_column = _mm512_load_si512(quarters);
  __m512i v[4];
  for (int64_t i = 0; i < 4; ++i) {
    const __m512i bytes = _mm512_i32gather_epi32(at, from + 16 * i * stride, 1);
    v[i] = _mm512_permutexvar_epi8(by_column, bytes);
  }
  const __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x88);  // columns 0 2 0 2 of rows 0, 16
  const __m512i b = _mm512_shuffle_i32x4(v[0], v[1], 0xDD);
  const __m512i c = _mm512_shuffle_i32x4(v[2], v[3], 0x88);
  const __m512i d = _mm512_shuffle_i32x4(v[2], v[3], 0xDD);
  to[0] = _mm512_shuffle_i32x4(a, c, 0x88);
  to[1] = _mm512_shuffle_i32x4(b, d, 0x88);
  to[2] = _mm512_shuffle_i32x4(a, c, 0xDD);
  to[3] = _mm512_shuffle_i32x4(b, d, 0xDD);
}

// E << 3 | m of positive E4M3: the exponent is counted down, and subnormal ones get one.
inline __m512i ring_scales(__m512i codes) {
  // 2^-9 m is 2^(8 - E) (1 + n / 8): E is 17 for 1, 16 for 2 and 3, 15 from 4 on.
  const __m512i small = _mm512_broadcast_i32x4(
      _mm_setr_epi8(0, static_cast<char>(136), static_cast<char>(128), static_cast<char>(132), 120,
                    122, 124, 126, 0, 0, 0, 0, 0, 0, 0, 0));
  const __mmask64 normal = _mm512_cmpge_epu8_mask(codes, _mm512_set1_epi8(8));
  const __m512i turned = _mm512_xor_si512(codes, _mm512_set1_epi8(0x78));
  return _mm512_mask_mov_epi8(_mm512_shuffle_epi8(small, codes), normal, turned);
}

// 64 scales as numbers of a record.
inline void stream_scales(int32_t number, const __m512i bits[4], char* to) {
  __m512i v[4];
  for (int i = 0; i < 4; ++i) {
    v[i] = bits[i];
    if (number == kE8M0) v[i] = _mm512_srli_epi32(bits[i], 23);
    if (number == kBF16) v[i] = _mm512_srli_epi32(bits[i], 16);
    if (number == kF16) {
      v[i] = _mm512_cvtepu16_epi32(_mm512_cvtps_ph(_mm512_castsi512_ps(bits[i]), 0));
    }
  }
  if (number == kF32) {
    for (int i = 0; i < 4; ++i) stream(to + 64 * i, v[i]);
  } else if (number == kE8M0) {
    __m512i all = _mm512_castsi128_si512(_mm512_cvtepi32_epi8(v[0]));
    all = _mm512_inserti32x4(all, _mm512_cvtepi32_epi8(v[1]), 1);
    all = _mm512_inserti32x4(all, _mm512_cvtepi32_epi8(v[2]), 2);
    stream(to, _mm512_inserti32x4(all, _mm512_cvtepi32_epi8(v[3]), 3));
  } else {
    for (int i = 0; i < 4; i += 2) {
      const __m512i low = _mm512_castsi256_si512(_mm512_cvtepi32_epi16(v[i]));
      stream(to + 32 * i, _mm512_inserti64x4(low, _mm512_cvtepi32_epi16(v[i + 1]), 1));
    }
  }
}

// Where patches are records: bytes of each, four records at a time; use(record, 64 bytes).
template <typename Use>
inline void each_bytes(const uint8_t* from, int64_t patches, const Use& use) {
  const __m512i at = row_index(patches);
  int64_t r = 0;
  for (; r + 4 <= patches; r += 4) {
    __m512i v[4];
    transpose_bytes(from + r, patches, at, v);
    for (int64_t i = 0; i < 4; ++i) use(r + i, v[i]);
  }
  for (; r < patches; ++r) {
    alignas(64) uint8_t bytes[kBlockRows];
    for (int64_t i = 0; i < kBlockRows; ++i) bytes[i] = from[i * patches + r];
    use(r, _mm512_load_si512(bytes));
  }
}

void pack_block_scales(const MatrixRows& rows, const Blocks& blocks, int64_t row, char* block) {
  const Format& f = rows.format;
  const layout::Record& record = blocks.record;
  const int64_t patches = n_patches(f, rows.n_in);
  const auto stream_at = [&](int64_t part) {
    return [block, &record, part](int64_t r, __m512i bytes) {
      stream(block + r * record.bytes + part, bytes);
    };
  };
  if (rows.scale_codes != nullptr) {
    const auto store = stream_at(record.scales);
    each_bytes(rows.scale_codes + row * patches, patches,
               [&](int64_t r, __m512i codes) { store(r, ring_scales(codes)); });
    return;
  }
  const __m512i at = row_index(patches);
  for (int64_t r = 0; r < blocks.n_records && blocks.table == 0; ++r) {
    const float* from = rows.scales + row * patches + r * record.cols / f.patch_cols;
    __m512i bits[4];
    for (int64_t i = 0; i < 4; ++i) {
      bits[i] = _mm512_i32gather_epi32(at, from + 16 * i * patches, 4);
    }
    stream_scales(f.number, bits, block + r * record.bytes + record.scales);
  }
  if (f.zeros == 0) return;
  const uint8_t* zeros = rows.zeros + row * patches;
  if (patches == blocks.n_records) return each_bytes(zeros, patches, stream_at(record.zeros));
  for (int64_t r = 0; r < blocks.n_records; ++r) {
    uint8_t* to = reinterpret_cast<uint8_t*>(block + r * record.bytes + record.zeros);
    const uint8_t* from = zeros + r * record.cols / f.patch_cols;
    for (int64_t i = 0; i < kBlockRows; ++i) to[i] = from[i * patches];
  }
}

}  // namespace

void pack_scales(const MatrixRows& rows, void* packed) {
  const Blocks blocks = layout::blocks_of(rows.format, rows.n_out, rows.n_in);
  for (int64_t row = 0; row < rows.n_rows; row += kBlockRows) {
    char* block = static_cast<char*>(packed) + (rows.first_row + row) / kBlockRows * blocks.bytes;
    pack_block_scales(rows, blocks, row, block);
    layout::pack_block(rows, blocks, row, blocks.n_records, block);  // the table of shared scales
  }
}

}  // namespace mm2::kernels::avx512
