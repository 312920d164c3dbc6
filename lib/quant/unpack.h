// Codes out of their stored words, one byte each: the inner loops of loading. None of them checks
// anything.
#pragma once

#include <cstdint>

namespace mm2 {

/// Two codes to a byte, the even one low: `from` [n_bytes], `to` [2 * n_bytes].
void unpack_nibbles(const uint8_t* from, int64_t n_bytes, uint8_t* to);

/// Codes of `bits` (1 to 8), lowest bits first, across the borders of words: `to` [n].
void unpack_fields(const uint32_t* words, int bits, int64_t n, uint8_t* to);

/// A window of words whose columns are the rows of a matrix.
struct WordWindow {
  const uint32_t* words;  // its first one
  int64_t stride;         // words from one stored row to the next
};

/// GPTQ: field t of word [r, c] is column 32 / bits * r + t of row c; bits 2, 4 or 8.
/// `to` [n_rows, n_cols].
void unpack_gptq(WordWindow from, int bits, int64_t n_rows, int64_t n_cols, uint8_t* to);

/// AWQ: nibble {0,4,1,5,2,6,3,7}[j] of word [k, c] is column k of row 8 c + j.
/// `to` [n_rows, n_cols].
void unpack_awq(WordWindow from, int64_t n_rows, int64_t n_cols, uint8_t* to);

/// Place of row 8 c + j in word c of AWQ.
constexpr int kAwqNibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};

/// Column i of `to` is column order[i] of `from`; both [n_rows, n_cols].
void permute_columns(const uint8_t* from, const int32_t* order, int64_t n_rows, int64_t n_cols,
                     uint8_t* to);

/// to[i] = from[i] + 128: signed codes counted from 0.
void unpack_signed(const uint8_t* from, int64_t n, uint8_t* to);

/// Whether all codes of E4M3 are numbers above 0.
bool are_positive(const uint8_t* codes, int64_t n);

/// Whether some code is 0x7F or 0xFF: NaN in E4M3.
bool has_e4m3_nan(const uint8_t* codes, int64_t n);

}  // namespace mm2
