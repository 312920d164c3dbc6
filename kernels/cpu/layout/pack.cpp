#include "kernels/cpu/layout/pack.h"

namespace mm2::kernels::layout {
namespace {

constexpr int64_t kStep = 8;  // K that are transposed at a time

// The code whose number is 0.
uint8_t code_of_zero(const Format& f) {
  return f.scheme == kInteger && f.zeros == 0 ? static_cast<uint8_t>(1 << (f.bits - 1)) : 0;
}

// 8 codes of one row, in the order of a dword of nibbles.
uint32_t nibbles(const uint8_t* c) {
  const auto word = [&](int first) {
    return static_cast<uint32_t>(c[first] | c[first + 2] << 4 | c[first + 4] << 8 |
                                 c[first + 6] << 12);
  };
  return word(0) | word(1) << 16;
}

// The same for the ring: in each nibble the sign below the size.
uint32_t ring(const uint8_t* c) {
  const uint32_t codes = nibbles(c);
  return (codes & 0x77777777u) << 1 | (codes >> 3 & 0x11111111u);
}

// 8 codes of row i: two dwords of K pairs in each of two steps of 4 K.
void put_bytes(const uint8_t* c, int64_t i, char* step) {
  char* to = step + i / 4 * 16 + i % 4 * 2;
  for (int64_t half = 0; half < 2; ++half, c += 4, to += 4 * kBlockRows) {
    memcpy(to, c, 2);
    memcpy(to + 8, c + 2, 2);
  }
}

void store_number(int32_t number, float x, char* to) {
  const uint32_t bits = bits_of(x);
  uint16_t half = static_cast<uint16_t>(bits >> 16);
  if (number == kF16) half = f32_to_f16(x);
  const uint8_t exponent = static_cast<uint8_t>(bits >> 23);
  if (number == kF32) memcpy(to, &x, 4);
  if (number == kBF16 || number == kF16) memcpy(to, &half, 2);
  if (number == kE8M0) memcpy(to, &exponent, 1);
}

// E << 3 | m of a positive E4M3: the float's exponent counted down from 8.
uint8_t ring_scale(float size) {
  const uint32_t bits = bits_of(size);
  if (bits == 0) return 0;
  return static_cast<uint8_t>((135u - (bits >> 23)) << 3 | (bits >> 20 & 7u));
}

// Row i of record r: codes, scale, zero. `at` is the row within rows, or -1 for a padding row.
void put_row(const MatrixRows& rows, const Record& record, int64_t r, int64_t i, int64_t at,
             char* to) {
  const Format& f = rows.format;
  const Codes codes = codes_of(f);
  const int64_t k0 = r * record.cols;
  const bool real = at >= 0;
  const int64_t patch = at * n_patches(f, rows.n_in) + k0 / f.patch_cols;
  const float scale = real ? rows.scales[patch] : 0.0f;
  const uint8_t* all = static_cast<const uint8_t*>(rows.codes);
  const uint8_t* from = real ? all + at * rows.n_in : nullptr;
  const uint8_t turn = codes == kRing && scale < 0 ? 8 : 0;
  const bool none = codes == kRing && scale == 0;
  for (int64_t k = 0; k < record.cols; k += kStep) {
    uint8_t c[kStep];
    const int64_t left = rows.n_in - k0 - k;
    for (int64_t j = 0; j < kStep; ++j) {
      const bool there = real && j < left && !none;
      c[j] = there ? static_cast<uint8_t>(from[k0 + k + j] ^ turn) : code_of_zero(f);
    }
    if (codes == kBytes) {
      put_bytes(c, i, to + k * kBlockRows);
    } else {
      const uint32_t dword = codes == kRing ? ring(c) : nibbles(c);
      memcpy(to + k * kBlockRows / 2 + i * 4, &dword, 4);
    }
  }
  if (codes == kRing) {
    to[record.scales + i] = static_cast<char>(ring_scale(scale < 0 ? -scale : scale));
  } else if (!shares_scales(f, rows.n_out)) {
    store_number(f.number, scale, to + record.scales + i * bytes_of(f.number));
  }
  if (f.zeros != 0) to[record.zeros + i] = static_cast<char>(real ? rows.zeros[patch] : 0);
}

void pack_codes(const MatrixRows& rows, const Blocks& blocks, int64_t row0, int64_t first,
                char* block) {
  const Format& f = rows.format;
  const Record& record = blocks.record;
  for (int64_t r = first; r < blocks.n_records; ++r) {
    for (int64_t i = 0; i < kBlockRows; ++i) {
      put_row(rows, record, r, i, row0 + i < rows.n_rows ? row0 + i : -1, block + r * record.bytes);
    }
  }
  if (blocks.table == 0) return;
  float* table = reinterpret_cast<float*>(block + blocks.table);
  memset(table, 0, static_cast<size_t>(blocks.bytes - blocks.table));
  const float* scales = rows.scales + row0 * n_patches(f, rows.n_in);
  for (int64_t r = 0; r < blocks.n_records; ++r) table[r] = scales[r * record.cols / f.patch_cols];
}

}  // namespace

int64_t packed_bytes(const Format* format, int64_t n_out, int64_t n_in) {
  constexpr int64_t kMost = INT64_MAX / 64;  // of elements: 4 bytes each, padded, scales
  if (n_out < 0 || n_in < 0 || n_out > kMost / 64 || n_in > kMost / 256) return -1;
  if (!is_format(*format, n_in)) return -1;
  if (n_in > 0 && round_up(n_out, kBlockRows) > kMost / round_up(n_in, kSumGroup)) return -1;
  const int64_t order = format->ordered != 0 ? round_up(n_in * 4, 64) : 0;
  return n_blocks(n_out) * blocks_of(*format, n_out, n_in).bytes + order;
}

void pack_block(const MatrixRows& rows, const Blocks& blocks, int64_t row0, int64_t first,
                char* block) {
  if (is_plain(rows.format)) return pack_plain(rows, blocks, row0, first, block);
  pack_codes(rows, blocks, row0, first, block);
}

void pack_order(const MatrixRows& rows, const Blocks& blocks, void* packed) {
  if (rows.format.ordered == 0 || rows.first_row != 0) return;
  char* order = static_cast<char*>(packed) + n_blocks(rows.n_out) * blocks.bytes;
  memset(order, 0, static_cast<size_t>(round_up(rows.n_in * 4, 64)));
  memcpy(order, rows.order, static_cast<size_t>(rows.n_in) * 4);
}

void pack(const MatrixRows* rows, void* packed) {
  const Blocks blocks = blocks_of(rows->format, rows->n_out, rows->n_in);
  for (int64_t row = 0; row < rows->n_rows; row += kBlockRows) {
    char* block = static_cast<char*>(packed) + (rows->first_row + row) / kBlockRows * blocks.bytes;
    pack_block(*rows, blocks, row, 0, block);
  }
  pack_order(*rows, blocks, packed);
}

}  // namespace mm2::kernels::layout
