#include "quant/unpack.h"

#include <cstring>

namespace mm2 {
namespace {

typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef uint32_t Words __attribute__((vector_size(16)));

Bytes load(const void* from) {
  Bytes v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

// The processor fetches ahead by itself within a page only; beyond the end this is harmless.
void fetch_ahead(const uint8_t* from) {
  __builtin_prefetch(from + 2048);
}

void store(Bytes v, uint8_t* to) {
  std::memcpy(to, &v, sizeof v);
}

Bytes low_bytes(Bytes a, Bytes b) {  // a0 b0 a1 b1 ...
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
Bytes high_bytes(Bytes a, Bytes b) {  // a8 b8 a9 b9 ...
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                 31);
}

Bytes low_nibbles(Bytes v) {
  return v & 15;
}
Bytes high_nibbles(Bytes v) {
  // Shifting words and masking: there is no shift of bytes.
  return reinterpret_cast<Bytes>(reinterpret_cast<Words>(v) >> 4) & 15;
}

void store_nibbles(Bytes v, uint8_t* to) {
  const Bytes low = low_nibbles(v), high = high_nibbles(v);
  store(low_bytes(low, high), to);
  store(high_bytes(low, high), to + 16);
}

// v[i] holds word i of four rows; afterwards v[i] holds the four words of row i.
void transpose_words(Bytes v[4]) {
  Words w[4];
  std::memcpy(w, v, sizeof w);
  const Words a = __builtin_shufflevector(w[0], w[1], 0, 4, 1, 5);
  const Words b = __builtin_shufflevector(w[2], w[3], 0, 4, 1, 5);
  const Words c = __builtin_shufflevector(w[0], w[1], 2, 6, 3, 7);
  const Words d = __builtin_shufflevector(w[2], w[3], 2, 6, 3, 7);
  w[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  w[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  w[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  w[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
  std::memcpy(v, w, sizeof w);
}

// Byte j of v[i] becomes byte i of v[j]: four times over, rows i and i + 8 are interleaved into
// rows 2 i and 2 i + 1.
void transpose_bytes(Bytes v[16]) {
  for (int stage = 0; stage < 4; ++stage) {
    Bytes next[16];
    for (int i = 0; i < 8; ++i) {
      next[2 * i] = low_bytes(v[i], v[i + 8]);
      next[2 * i + 1] = high_bytes(v[i], v[i + 8]);
    }
    std::memcpy(v, next, sizeof next);
  }
}

uint8_t field(uint32_t word, int bits, int64_t t) {
  return static_cast<uint8_t>(word >> (bits * static_cast<int>(t)) & ((1u << bits) - 1u));
}

// Rows [row, n_rows) and columns [col, n_cols), field by field.
void gptq_rest(WordWindow from, int bits, int64_t row, int64_t n_rows, int64_t col, int64_t n_cols,
               uint8_t* to) {
  const int64_t per_word = 32 / bits;
  for (int64_t c = row; c < n_rows; ++c) {
    for (int64_t k = col; k < n_cols; ++k) {
      const uint32_t word = from.words[k / per_word * from.stride + c];
      to[c * n_cols + k] = field(word, bits, k % per_word);
    }
  }
}

// Rows [c, c + 4) and the columns of four rows of words from r on.
template <int kBits>
void gptq_square(WordWindow from, int64_t r, int64_t c, int64_t n_cols, uint8_t* to) {
  Bytes v[4];
  for (int64_t i = 0; i < 4; ++i) v[i] = load(from.words + (r + i) * from.stride + c);
  transpose_words(v);
  uint8_t* at = to + c * n_cols + r * (32 / kBits);
  for (int i = 0; i < 4; ++i, at += n_cols) {
    if constexpr (kBits == 4) store_nibbles(v[i], at);
    if constexpr (kBits == 8) store(v[i], at);
  }
}

template <int kBits>
void gptq_squares(WordWindow from, int64_t n_rows, int64_t n_cols, uint8_t* to) {
  // Rows of words at a time: what is read stays in the first cache, what is written is whole lines.
  constexpr int64_t kWordRows = 32;
  const int64_t n_words = n_cols / (32 / kBits) / 4 * 4;
  const int64_t n_squares = n_rows / 4 * 4;
  for (int64_t r0 = 0; r0 < n_words; r0 += kWordRows) {
    const int64_t end = r0 + kWordRows < n_words ? r0 + kWordRows : n_words;
    for (int64_t c = 0; c < n_squares; c += 4) {
      // Four squares share lines of memory: each asks for those of a quarter of the next rows.
      const int64_t next = end + c / 4 % 4 * (kWordRows / 4);
      for (int64_t r = next; r < next + kWordRows / 4 && r < n_words; ++r) {
        __builtin_prefetch(from.words + r * from.stride + c);
      }
      for (int64_t r = r0; r < end; r += 4) gptq_square<kBits>(from, r, c, n_cols, to);
    }
  }
  gptq_rest(from, kBits, 0, n_squares, n_words * (32 / kBits), n_cols, to);
  gptq_rest(from, kBits, n_squares, n_rows, 0, n_cols, to);
}

void awq_rest(WordWindow from, int64_t row, int64_t n_rows, int64_t col, int64_t n_cols,
              uint8_t* to) {
  for (int64_t c = row; c < n_rows; ++c) {
    for (int64_t k = col; k < n_cols; ++k) {
      to[c * n_cols + k] = field(from.words[k * from.stride + c / 8], 4, kAwqNibble[c % 8]);
    }
  }
}

// Rows [c, c + 32) and columns [k, k + 16).
void awq_square(WordWindow from, int64_t k, int64_t c, int64_t n_cols, uint8_t* to) {
  constexpr int kRowOfNibble[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  Bytes v[16];
  for (int64_t i = 0; i < 16; ++i) v[i] = load(from.words + (k + i) * from.stride + c / 8);
  transpose_bytes(v);
  for (int i = 0; i < 16; ++i) {
    uint8_t* word = to + (c + i / 4 * 8) * n_cols + k;
    store(low_nibbles(v[i]), word + kRowOfNibble[i % 4 * 2] * n_cols);
    store(high_nibbles(v[i]), word + kRowOfNibble[i % 4 * 2 + 1] * n_cols);
  }
}

}  // namespace

void unpack_nibbles(const uint8_t* from, int64_t n_bytes, uint8_t* to) {
  int64_t i = 0;
  for (; i + 64 <= n_bytes; i += 64) {
    fetch_ahead(from + i);
    for (int64_t j = i; j < i + 64; j += 16) store_nibbles(load(from + j), to + 2 * j);
  }
  for (; i + 16 <= n_bytes; i += 16) store_nibbles(load(from + i), to + 2 * i);
  for (; i < n_bytes; ++i) {
    to[2 * i] = from[i] & 15;
    to[2 * i + 1] = from[i] >> 4;
  }
}

void unpack_fields(const uint32_t* words, int bits, int64_t n, uint8_t* to) {
  uint64_t held = 0;  // bits not given out yet, the lowest first
  int n_held = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (n_held < bits) {
      held |= uint64_t{*words++} << n_held;
      n_held += 32;
    }
    to[i] = static_cast<uint8_t>(held & ((1u << bits) - 1u));
    held >>= bits;
    n_held -= bits;
  }
}

void unpack_gptq(WordWindow from, int bits, int64_t n_rows, int64_t n_cols, uint8_t* to) {
  if (bits == 4) return gptq_squares<4>(from, n_rows, n_cols, to);
  if (bits == 8) return gptq_squares<8>(from, n_rows, n_cols, to);
  gptq_rest(from, bits, 0, n_rows, 0, n_cols, to);
}

void unpack_awq(WordWindow from, int64_t n_rows, int64_t n_cols, uint8_t* to) {
  const int64_t rows = n_rows / 32 * 32, cols = n_cols / 16 * 16;
  for (int64_t c = 0; c < rows; c += 32) {
    for (int64_t k = 0; k < cols; k += 16) {
      for (int64_t r = k + 64; r < k + 80 && r < cols; ++r) {
        __builtin_prefetch(from.words + r * from.stride + c / 8);
      }
      awq_square(from, k, c, n_cols, to);
    }
  }
  awq_rest(from, 0, rows, cols, n_cols, to);
  awq_rest(from, rows, n_rows, 0, n_cols, to);
}

void permute_columns(const uint8_t* from, const int32_t* order, int64_t n_rows, int64_t n_cols,
                     uint8_t* to) {
  for (int64_t row = 0; row < n_rows; ++row, from += n_cols, to += n_cols) {
    for (int64_t i = 0; i < n_cols; ++i) to[i] = from[order[i]];
  }
}

void unpack_signed(const uint8_t* from, int64_t n, uint8_t* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = from[i] ^ 0x80u;
}

bool are_positive(const uint8_t* codes, int64_t n) {
  uint8_t most = 0;  // of code - 1, which is 255 for 0
  for (int64_t i = 0; i < n; ++i) {
    const auto below = static_cast<uint8_t>(codes[i] - 1);
    most = below > most ? below : most;
  }
  return most < 0x7E;
}

bool has_e4m3_nan(const uint8_t* codes, int64_t n) {
  typedef int8_t Flags __attribute__((vector_size(16)));
  Flags found[4] = {};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    fetch_ahead(codes + i);
    for (int64_t j = 0; j < 4; ++j) found[j] |= (load(codes + i + 16 * j) & 0x7F) == 0x7F;
  }
  const Flags all = found[0] | found[1] | found[2] | found[3];
  int n_nan = 0;
  for (int j = 0; j < 16; ++j) n_nan |= all[j];
  for (; i < n; ++i) n_nan |= (codes[i] & 0x7F) == 0x7F ? 1 : 0;
  return n_nan != 0;
}

}  // namespace mm2
