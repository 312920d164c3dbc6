// Where packed weights lie: one layout for every instruction set.
//
// Blocks of 64 rows, one after the other, rows padded with zeros; lanes are rows, K runs inside a
// lane. Every part is a multiple of 64 bytes, so a block is one stream.
//
// Plain numbers, K padded to an even length:
//   kBF16, kF16: for each pair of K, 64 dwords; dword i of row i: K even low, K odd high
//   kF32:        for each pair of K, 64 floats of K even, then 64 of K odd
//
// Codes: a block is records of `cols` K each (Record), K padded to whole records with codes of 0:
// codes, then scales, then zeros of the 64 rows. Where all 64 rows share a scale it is in a table
// of F32 after the block's last record instead, one for each record.
//   nibbles (kInteger of 4 bits, kFp4 with E8M0): for each 8 K, 64 dwords; dword i of row i: low
//     word K 0 2 4 6, high word K 1 3 5 7, lowest bits first
//   bytes (kInteger of 8 bits, kFp8): for each 4 K, 16 times 4 rows r in 16 bytes: byte 2 r + j is
//     K = j, byte 8 + 2 r + j is K = 2 + j
//   ring (kFp4 with E4M3): two steps of 8 K like nibbles, but a nibble has its sign below its size:
//     a word rotated right by 4 t + 1 has the size of nibble t lowest and its sign highest. Then 64
//     bytes E << 3 | m of the rows' scales 2^(8 - E) (1 + m / 8). A scale of 0 has codes of 0, a
//     negative one turned signs.
//
// After the last block, where Format::ordered: the order, n_in numbers of I32.
#pragma once

#include "kernels/api/format.h"
#include "kernels/api/types.h"

namespace mm2::kernels::layout {

constexpr int64_t kBlockRows = 64;

static inline int64_t round_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

static inline int64_t n_blocks(int64_t n_out) {
  return (n_out + kBlockRows - 1) / kBlockRows;
}
static inline int64_t n_pairs(int64_t n_in) {
  return (n_in + 1) / 2;
}

/// How the codes of a record lie.
enum Codes : int32_t { kNumbers, kNibbles, kBytes, kRing };

static inline Codes codes_of(const Format& f) {
  if (is_plain(f)) return kNumbers;
  if (scale_in_code(f)) return kRing;
  return f.scheme == kFp8 || (f.scheme == kInteger && f.bits == 8) ? kBytes : kNibbles;
}

/// Whether 64 rows share each scale.
static inline bool shares_scales(const Format& f, int64_t n_out) {
  if (is_plain(f) || scale_in_code(f)) return false;
  return f.patch_rows % kBlockRows == 0 || f.patch_rows >= n_out;
}

/// One record of one block; for plain numbers a record is a pair of K.
struct Record {
  int64_t cols;
  int64_t scales;  // bytes from its start
  int64_t zeros;
  int64_t bytes;
};

static inline Record record_of(const Format& f, int64_t n_out) {
  const Codes codes = codes_of(f);
  if (codes == kNumbers) return {2, 0, 0, 2 * kBlockRows * bytes_of(f.number)};
  const int64_t cols = codes == kRing ? 16 : sum_group(f);
  const int64_t scales = cols * kBlockRows / (codes == kBytes ? 1 : 2);
  const int64_t scale_bytes = shares_scales(f, n_out) ? 0 : kBlockRows * bytes_of(f.number);
  const int64_t zeros = scales + scale_bytes;
  return {cols, scales, zeros, zeros + (f.zeros != 0 ? kBlockRows : 0)};
}

/// Everything about the blocks of a matrix.
struct Blocks {
  Record record;
  int64_t n_records;
  int64_t table;  // bytes from a block's start, where its rows share scales, else 0
  int64_t bytes;  // of a block
};

static inline Blocks blocks_of(const Format& f, int64_t n_out, int64_t n_in) {
  Blocks b{record_of(f, n_out), 0, 0, 0};
  b.n_records = (n_in + b.record.cols - 1) / b.record.cols;
  b.bytes = b.n_records * b.record.bytes;
  if (!shares_scales(f, n_out)) return b;
  b.table = b.bytes;
  b.bytes += round_up(b.n_records * 4, 64);
  return b;
}

static inline const char* block_at(const Matrix& w, const Blocks& b, int64_t block) {
  return static_cast<const char*>(w.data) + block * b.bytes;
}

/// Column i of the packed matrix meets activation order[i]; null where that is i.
static inline const int32_t* order_of(const Matrix& w) {
  if (w.format.ordered == 0) return nullptr;
  const int64_t bytes = n_blocks(w.n_out) * blocks_of(w.format, w.n_out, w.n_in).bytes;
  return reinterpret_cast<const int32_t*>(static_cast<const char*>(w.data) + bytes);
}

}  // namespace mm2::kernels::layout
