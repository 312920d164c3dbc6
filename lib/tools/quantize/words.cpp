#include "tools/quantize/words.h"

#include <bit>
#include <cstring>

#include "quant/unpack.h"

namespace mm2::coding {
namespace {

typedef uint32_t Words __attribute__((vector_size(16)));

constexpr int64_t kTile = 256;  // words that are turned at a time; they stay in the first cache

static_assert(std::endian::native == std::endian::little);

// Word i of row r (rows of kTile words) becomes word r of row i of `to`.
void turn(const uint32_t* from, int64_t n_rows, int64_t n_words, WordColumns to) {
  int64_t r = 0;
  for (; r + 4 <= n_rows; r += 4) {
    int64_t i = 0;
    for (; i + 4 <= n_words; i += 4) {
      Words w[4];
      for (int64_t j = 0; j < 4; ++j) std::memcpy(&w[j], from + (r + j) * kTile + i, sizeof w[j]);
      const Words a = __builtin_shufflevector(w[0], w[1], 0, 4, 1, 5);
      const Words b = __builtin_shufflevector(w[2], w[3], 0, 4, 1, 5);
      const Words c = __builtin_shufflevector(w[0], w[1], 2, 6, 3, 7);
      const Words d = __builtin_shufflevector(w[2], w[3], 2, 6, 3, 7);
      w[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
      w[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
      w[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
      w[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
      for (int64_t j = 0; j < 4; ++j) {
        std::memcpy(to.words + (i + j) * to.stride + r, &w[j], sizeof w[j]);
      }
    }
    for (; i < n_words; ++i) {
      for (int64_t j = 0; j < 4; ++j) {
        to.words[i * to.stride + r + j] = from[(r + j) * kTile + i];
      }
    }
  }
  for (; r < n_rows; ++r) {
    for (int64_t i = 0; i < n_words; ++i) to.words[i * to.stride + r] = from[r * kTile + i];
  }
}

// One word of AWQ for each column of eight rows.
void awq_words(const uint8_t* codes, int64_t n_cols, int64_t n, uint32_t* to) {
  for (int64_t k = 0; k < n; ++k) {
    uint32_t word = 0;
    for (int64_t j = 0; j < 8; ++j) {
      word |= uint32_t{codes[j * n_cols + k]} << (4 * kAwqNibble[j]);
    }
    to[k] = word;
  }
}

}  // namespace

void pack_nibbles(const uint8_t* codes, int64_t n_bytes, uint8_t* to) {
  for (int64_t i = 0; i < n_bytes; ++i) {
    to[i] = static_cast<uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
  }
}

void pack_fields(const uint8_t* codes, int bits, int64_t n, uint32_t* words) {
  if (bits == 4 && n % 8 == 0) return pack_nibbles(codes, n / 2, reinterpret_cast<uint8_t*>(words));
  uint64_t held = 0;  // bits not given out yet, the lowest first
  int n_held = 0;
  for (int64_t i = 0; i < n; ++i) {
    held |= uint64_t{codes[i]} << n_held;
    n_held += bits;
    if (n_held < 32) continue;
    *words++ = static_cast<uint32_t>(held);
    held >>= 32;
    n_held -= 32;
  }
  if (n_held > 0) *words = static_cast<uint32_t>(held);
}

void pack_gptq(const uint8_t* codes, int bits, int64_t n_rows, int64_t n_cols, WordColumns to) {
  constexpr int64_t kRows = 32;
  uint32_t tile[kRows * kTile];
  const int64_t per_word = 32 / bits;
  const int64_t n_words = n_cols / per_word;
  for (int64_t r = 0; r < n_rows; r += kRows) {
    const int64_t rows = n_rows - r < kRows ? n_rows - r : kRows;
    for (int64_t i = 0; i < n_words; i += kTile) {
      const int64_t words = n_words - i < kTile ? n_words - i : kTile;
      for (int64_t j = 0; j < rows; ++j) {
        pack_fields(codes + (r + j) * n_cols + i * per_word, bits, words * per_word,
                    tile + j * kTile);
      }
      turn(tile, rows, words, {to.words + i * to.stride + r, to.stride});
    }
  }
}

void pack_awq(const uint8_t* codes, int64_t n_rows, int64_t n_cols, WordColumns to) {
  constexpr int64_t kRows = 16;  // of words: 128 of the matrix
  uint32_t tile[kRows * kTile];
  const int64_t n_words = n_rows / 8;
  for (int64_t c = 0; c < n_words; c += kRows) {
    const int64_t rows = n_words - c < kRows ? n_words - c : kRows;
    for (int64_t k = 0; k < n_cols; k += kTile) {
      const int64_t cols = n_cols - k < kTile ? n_cols - k : kTile;
      for (int64_t j = 0; j < rows; ++j) {
        awq_words(codes + (c + j) * 8 * n_cols + k, n_cols, cols, tile + j * kTile);
      }
      turn(tile, rows, cols, {to.words + k * to.stride + c, to.stride});
    }
  }
}

}  // namespace mm2::coding
