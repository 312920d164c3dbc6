// Quantised matrices by their numbers, and how each dialect stores them, by its definition.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/api/numbers.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace support {

/// The tensors of one matrix, by what follows its stem.
struct Stored {
  struct Tensor {
    std::string suffix;
    mm2::Dtype dtype;
    mm2::Shape shape;
    std::string bytes;
  };
  template <typename T>
  void add(const char* suffix, mm2::Dtype dtype, const mm2::Shape& shape,
           const std::vector<T>& values) {
    std::string bytes(values.size() * sizeof(T), '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    tensors.push_back({suffix, dtype, shape, bytes});
  }
  std::vector<Tensor> tensors;
};

// A matrix by its numbers: codes [rows, cols], scales and zeros [rows, groups] of `group` columns
// after they are put into `order`.
struct Truth {
  int64_t rows, cols, group;
  int bits;
  std::vector<int> codes, zeros;
  std::vector<float> scales;
  std::vector<int> group_of;  // [cols]

  Truth(int64_t n_rows, int64_t n_cols, int64_t n_group, int n_bits, unsigned seed = 1)
      : rows(n_rows), cols(n_cols), group(n_group), bits(n_bits) {
    std::mt19937 random(seed);
    for (int64_t i = 0; i < rows * cols; ++i)
      codes.push_back(static_cast<int>(random() % (1u << bits)));
    for (int64_t i = 0; i < rows * groups(); ++i) {
      zeros.push_back(static_cast<int>(random() % (1u << bits)));
      scales.push_back(static_cast<float>(1 + random() % 64) / 64.0f);  // exact in every type
    }
    for (int64_t k = 0; k < cols; ++k) group_of.push_back(static_cast<int>(k / group));
  }
  int64_t groups() const { return (cols + group - 1) / group; }
  void symmetric() { std::fill(zeros.begin(), zeros.end(), 1 << (bits - 1)); }
  void shuffle() { std::shuffle(group_of.begin(), group_of.end(), std::mt19937(7)); }
  int code(int64_t r, int64_t k) const { return codes[static_cast<size_t>(r * cols + k)]; }
  int zero(int64_t r, int64_t g) const { return zeros[static_cast<size_t>(r * groups() + g)]; }
  float scale(int64_t r, int64_t g) const { return scales[static_cast<size_t>(r * groups() + g)]; }
  float number(int64_t r, int64_t k) const {
    const int g = group_of[static_cast<size_t>(k)];
    return static_cast<float>(code(r, k) - zero(r, g)) * scale(r, g);
  }
};

inline void put_bits(std::vector<uint32_t>& words, int64_t first_word, int64_t bit, int bits,
                     int value) {
  for (int i = 0; i < bits; ++i, ++bit) {
    const auto word = static_cast<size_t>(first_word + bit / 32);
    if (value >> i & 1) words[word] |= 1u << (bit % 32);
  }
}

// Words of GPTQ: [cols / per, rows], zeros [groups, rows / per] less `stored_less` in every field, whole
// words at a time.
inline Stored gptq(const Truth& t, int stored_less, bool with_map) {
  const int64_t per = 32 / t.bits, n_words = (t.cols + per - 1) / per;
  const int64_t zero_words = (t.rows + per - 1) / per;
  std::vector<uint32_t> words(static_cast<size_t>(n_words * t.rows));
  for (int64_t k = 0; k < t.cols; ++k) {
    for (int64_t r = 0; r < t.rows; ++r) {
      put_bits(words, k / per * t.rows + r, k % per * t.bits, t.bits, t.code(r, k));
    }
  }
  std::vector<uint32_t> zeros(static_cast<size_t>(t.groups() * zero_words));
  std::vector<uint16_t> scales;
  for (int64_t g = 0; g < t.groups(); ++g) {
    for (int64_t r = 0; r < t.rows; ++r) {
      put_bits(zeros, g * zero_words + r / per, r % per * t.bits, t.bits, t.zero(r, g));
      scales.push_back(mm2::kernels::f32_to_f16(t.scale(r, g)));
    }
  }
  Stored stored;
  stored.add(".qweight", mm2::Dtype::i32, {n_words, t.rows}, words);
  // As tools do it: a zero of 0 borrows from the field above.
  uint32_t ones = 0;
  for (int64_t f = 0; f < per; ++f) ones |= 1u << (f * t.bits);
  for (uint32_t& word : zeros) word -= ones * static_cast<uint32_t>(stored_less);
  stored.add(".qzeros", mm2::Dtype::i32, {t.groups(), zero_words}, zeros);
  stored.add(".scales", mm2::Dtype::f16, {t.groups(), t.rows}, scales);
  if (with_map) stored.add(".g_idx", mm2::Dtype::i32, {t.cols}, t.group_of);
  return stored;
}

inline Stored awq(const Truth& t) {
  constexpr int kPlace[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  const int64_t n_words = t.rows / 8;
  std::vector<uint32_t> words(static_cast<size_t>(t.cols * n_words));
  std::vector<uint32_t> zeros(static_cast<size_t>(t.groups() * n_words));
  std::vector<uint16_t> scales;
  for (int64_t r = 0; r < t.rows; ++r) {
    for (int64_t k = 0; k < t.cols; ++k) {
      put_bits(words, k * n_words + r / 8, kPlace[r % 8] * 4, 4, t.code(r, k));
    }
    for (int64_t g = 0; g < t.groups(); ++g) {
      put_bits(zeros, g * n_words + r / 8, kPlace[r % 8] * 4, 4, t.zero(r, g));
    }
  }
  for (int64_t g = 0; g < t.groups(); ++g) {
    for (int64_t r = 0; r < t.rows; ++r) scales.push_back(mm2::kernels::f32_to_f16(t.scale(r, g)));
  }
  Stored stored;
  stored.add(".qweight", mm2::Dtype::i32, {t.cols, n_words}, words);
  stored.add(".qzeros", mm2::Dtype::i32, {t.groups(), n_words}, zeros);
  stored.add(".scales", mm2::Dtype::f16, {t.groups(), t.rows}, scales);
  return stored;
}

inline Stored ct_packed(const Truth& t, bool with_zeros, bool with_map) {
  const int64_t n_words = (t.cols * t.bits + 31) / 32, zero_rows = (t.rows * t.bits + 31) / 32;
  std::vector<uint32_t> words(static_cast<size_t>(t.rows * n_words));
  std::vector<uint32_t> zeros(static_cast<size_t>(t.groups() * zero_rows));
  for (int64_t r = 0; r < t.rows; ++r) {
    for (int64_t k = 0; k < t.cols; ++k) {
      put_bits(words, r * n_words, k * t.bits, t.bits, t.code(r, k));
    }
    for (int64_t g = 0; g < t.groups(); ++g) {
      for (int i = 0; i < t.bits; ++i) {
        const int64_t bit = r * t.bits + i;
        put_bits(zeros, bit / 32 * t.groups() + g, bit % 32, 1, t.zero(r, g) >> i & 1);
      }
    }
  }
  Stored stored;
  stored.add(".weight_packed", mm2::Dtype::i32, {t.rows, n_words}, words);
  stored.add(".weight_scale", mm2::Dtype::f32, {t.rows, t.groups()}, t.scales);
  stored.add(".weight_shape", mm2::Dtype::i64, {2}, std::vector<int64_t>{t.rows, t.cols});
  if (with_zeros) stored.add(".weight_zero_point", mm2::Dtype::i32, {zero_rows, t.groups()}, zeros);
  if (with_map) stored.add(".weight_g_idx", mm2::Dtype::i32, {t.cols}, t.group_of);
  return stored;
}

inline Stored int8(const Truth& t, bool with_zeros) {
  std::vector<int8_t> codes, zeros;
  for (const int code : t.codes) codes.push_back(static_cast<int8_t>(code - 128));
  for (const int zero : t.zeros) zeros.push_back(static_cast<int8_t>(zero - 128));
  Stored stored;
  stored.add(".weight", mm2::Dtype::i8, {t.rows, t.cols}, codes);
  stored.add(".weight_scale", mm2::Dtype::f32, {t.rows, t.groups()}, t.scales);
  if (with_zeros) stored.add(".weight_zero_point", mm2::Dtype::i8, {t.rows, t.groups()}, zeros);
  return stored;
}

}  // namespace support
