// Codes of one byte each into words: the inner loops of packing, the other way round from
// quant/unpack.h. None of them checks anything.
#pragma once

#include <cstdint>

namespace mm2::coding {

/// Two codes to a byte, the even one low: `codes` [2 * n_bytes].
void pack_nibbles(const uint8_t* codes, int64_t n_bytes, uint8_t* to);

/// Codes of `bits` (1 to 8), lowest bits first, across the borders of words; the last word is filled
/// up with 0. `words`: [ceil(n * bits / 32)].
void pack_fields(const uint8_t* codes, int bits, int64_t n, uint32_t* words);

/// Words whose columns are the rows of a matrix.
struct WordColumns {
  uint32_t* words;  // the first one of the first row
  int64_t stride;   // words from one stored row to the next
};

/// As unpack_gptq: field t of word [r, c] is column 32 / bits * r + t of row c.
/// `codes` [n_rows, n_cols]; bits 2, 4 or 8.
void pack_gptq(const uint8_t* codes, int bits, int64_t n_rows, int64_t n_cols, WordColumns to);

/// As unpack_awq: nibble {0,4,1,5,2,6,3,7}[j] of word [k, c] is column k of row 8 c + j; n_rows is a
/// multiple of 8.
void pack_awq(const uint8_t* codes, int64_t n_rows, int64_t n_cols, WordColumns to);

}  // namespace mm2::coding
