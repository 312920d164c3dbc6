// What tests of kernels share: workers, random numbers, matrices in a backend's layout.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/api/backend.h"
#include "kernels/api/cpu_features.h"
#include "kernels/api/format.h"
#include "kernels/api/numbers.h"
#include "kernels/ref/ref.h"

#include <catch2/catch.hpp>

namespace support {

using namespace mm2::kernels;

/// The backend that this program tests, where the machine can run it; otherwise the generic one, which
/// has programs of its own.
inline const Backend* tested_backend() {
#if defined(MM2_TEST_AVX2)
  if (has_avx2()) return avx2_backend();
#elif defined(MM2_TEST_AVX512)
  if (has_avx512()) return avx512_backend();
#elif defined(MM2_TEST_AVX512_PAIRS)
  if (has_avx512()) return avx512_pairs_backend();
#endif
  return generic_backend();
}

constexpr double kEps = 0x1p-24;  // half the distance of two floats just above 1

/// An executor of n threads, started anew for each parallel_for.
class Workers {
 public:
  explicit Workers(int32_t n) : executor_{this, n, run} {}
  const Executor* get() const { return &executor_; }

 private:
  static void run(void* self, int32_t n_tasks, void (*task)(void*, int32_t, int32_t),
                  void* context) {
    std::atomic<int32_t> next{0};
    const auto work = [&](int32_t worker) {
      for (int32_t i; (i = next.fetch_add(1)) < n_tasks;) task(context, i, worker);
    };
    std::vector<std::thread> threads;
    for (int32_t w = 1; w < static_cast<Workers*>(self)->executor_.n_workers; ++w) {
      threads.emplace_back(work, w);
    }
    work(0);
    for (std::thread& thread : threads) thread.join();
  }

  Executor executor_;
};

/// Reproducible numbers, about normally distributed with deviation 1.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t bits() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

  float normal() {
    float sum = 0;
    for (int i = 0; i < 3; ++i) sum += static_cast<float>(bits() >> 40) * 0x1p-23f - 1.0f;
    return sum;
  }

  std::vector<float> vector(int64_t n, float scale = 1.0f) {
    std::vector<float> v(static_cast<size_t>(n));
    for (float& x : v) x = scale * normal();
    return v;
  }

 private:
  uint64_t state_;
};

/// Memory aligned to 64 bytes, every byte `fill` at first.
class Memory {
 public:
  explicit Memory(int64_t n_bytes, int fill = 0xA5)
      : size_(static_cast<size_t>(n_bytes)), data_(new (std::align_val_t{64}) char[size_ + 1]) {
    std::memset(data_.get(), fill, size_);
  }
  void* get() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Delete {
    void operator()(char* p) const { ::operator delete[](p, std::align_val_t{64}); }
  };
  size_t size_;
  std::unique_ptr<char[], Delete> data_;
};

/// The codes of `values`, as a checkpoint stores them.
inline std::vector<char> encode(const std::vector<float>& values, int32_t number) {
  std::vector<char> codes(values.size() * static_cast<size_t>(bytes_of(number)));
  for (size_t i = 0; i < values.size(); ++i) {
    if (number == kF32) std::memcpy(&codes[4 * i], &values[i], 4);
    // A BF16 of 8 bits; an F16 gets 10 of mantissa by the way of its own exponent.
    uint16_t code = f32_to_bf16(values[i]);
    if (number == kF16) {
      const uint32_t bits = bits_of(values[i] * 0x1p-112f);
      code = static_cast<uint16_t>(bits >> 31 << 15 | (bits >> 13 & 0x7FFFu));
    }
    if (number != kF32) std::memcpy(&codes[2 * i], &code, 2);
  }
  return codes;
}

/// A matrix of random numbers, as the reference keeps it and in the layout of the other backends.
class Weights {
 public:
  Weights(Random& random, int64_t n_out, int64_t n_in, int32_t number, float scale = 1.0f)
      : Weights(random.vector(n_out * n_in, scale), n_out, n_in, number) {}

  Weights(const std::vector<float>& values, int64_t n_out, int64_t n_in, int32_t number)
      : codes_(encode(values, number)) {
    pack({plain(number), n_out, n_in, 0, n_out, codes_.data(), nullptr, nullptr, nullptr});
  }

  /// Random codes, scales and zeros of any format; the numbers have a deviation of about `scale`.
  Weights(Random& random, int64_t n_out, int64_t n_in, const Format& f, float scale = 1.0f) {
    if (is_plain(f)) {
      codes_ = encode(random.vector(n_out * n_in, scale), f.number);
      pack({f, n_out, n_in, 0, n_out, codes_.data(), nullptr, nullptr, nullptr});
      return;
    }
    draw(random, n_out, n_in, f, scale);
    pack({f, n_out, n_in, 0, n_out, codes_.data(), scales_.data(), zeros_.data(), order_.data()});
  }

  /// What it was packed from.
  const MatrixRows& rows() const { return rows_; }

  /// One number of it, exactly.
  double at(int64_t row, int64_t column) const {
    std::vector<double> x(static_cast<size_t>(ref.n_in));
    x[static_cast<size_t>(column)] = 1;
    return ref::dot_row(ref, row, x.data());
  }

  /// The size of what is added up for one number: with zeros, that of code and zero apart.
  double size_at(int64_t row, int64_t column) const {
    if (ref.format.zeros == 0) return std::abs(at(row, column));
    const int64_t patches = n_patches(ref.format, ref.n_in);
    const auto patch = static_cast<size_t>(row * patches + column / ref.format.patch_cols);
    const auto code = static_cast<uint8_t>(codes_[static_cast<size_t>(row * ref.n_in + column)]);
    return (double{1} * code + zeros_[patch]) * std::abs(double{scales_[patch]});
  }

  /// Multiplies the matrix by s, or divides it.
  void set_output(float s, bool divides) {
    for (Matrix* m : {&ref, &generic}) {
      m->output_scale = s;
      m->output_divides = divides ? 1 : 0;
    }
  }

  Matrix ref, generic;  // `generic` is that of every CPU backend

 private:
  void draw(Random& random, int64_t n_out, int64_t n_in, const Format& f, float scale) {
    const int64_t patches = n_patches(f, n_in);
    const bool four = f.scheme == kFp4 || (f.scheme == kInteger && f.bits == 4);
    const float spread = f.scheme == kInteger ? (four ? 4.6f : 74.0f) : (four ? 3.0f : 120.0f);
    for (int64_t i = 0; i < n_out * n_in; ++i) {
      auto code = static_cast<uint8_t>(random.bits() & (four ? 15u : 255u));
      if (f.scheme == kFp8 && (code & 0x7Fu) == 0x7Fu) code ^= 1u;
      codes_.push_back(static_cast<char>(code));
    }
    scales_.resize(static_cast<size_t>(n_out * patches));
    for (int64_t row = 0; row < n_out; ++row) {
      for (int64_t p = 0; p < patches; ++p) {
        float& here = scales_[static_cast<size_t>(row * patches + p)];
        const int64_t above = row / f.patch_rows * f.patch_rows;
        here = above < row ? scales_[static_cast<size_t>(above * patches + p)]
                           : scale_in(f, random, scale / spread);
        zeros_.push_back(static_cast<uint8_t>(random.bits() & (four ? 15u : 255u)));
      }
    }
    for (int64_t i = 0; i < n_in; ++i) order_.push_back(static_cast<int32_t>(i));
    for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random.bits() % i]);
  }

  // A scale that its number format holds exactly; some are 0 or negative where that may be.
  static float scale_in(const Format& f, Random& random, float size) {
    const float x = size * (1.0f + 0.5f * random.normal());
    if (f.number == kE8M0) return float_of(bits_of(std::abs(x)) & 0x7F800000u);
    if (f.number == kE4M3) return random.bits() % 16 == 0 ? 0.0f : e4m3_to_f32(f32_to_e4m3(x));
    if (f.number == kBF16) return bf16_to_f32(f32_to_bf16(x));
    return f.number == kF16 ? f16_to_f32(f32_to_f16(x)) : x;
  }

  void pack(MatrixRows rows) {
    if (rows.format.zeros == 0) rows.zeros = nullptr;
    if (rows.format.ordered == 0) rows.order = nullptr;
    rows_ = rows;
    for (const Backend* backend : {reference_backend(), generic_backend()}) {
      const int64_t bytes = backend->packed_bytes(&rows.format, rows.n_out, rows.n_in);
      packed_.emplace_back(bytes);
      backend->pack(&rows, packed_.back().get());
    }
    ref = {rows.format, rows.n_out, rows.n_in, packed_[0].get()};
    generic = {rows.format, rows.n_out, rows.n_in, packed_[1].get()};
  }

  MatrixRows rows_{};
  std::vector<char> codes_;
  std::vector<float> scales_;
  std::vector<uint8_t> zeros_;
  std::vector<int32_t> order_;
  std::vector<Memory> packed_;
};

struct NamedFormat {
  const char* name;
  Format format;
};

/// Every format that a checkpoint of the family has, for rows of n_in.
inline std::vector<NamedFormat> all_formats(int64_t n_out, int64_t n_in) {
  const auto integer = [](int32_t number, int32_t bits, int64_t cols, int32_t zeros,
                          int32_t ordered) {
    return Format{kInteger, number, bits, zeros, ordered, 1, cols};
  };
  const auto fp8 = [](int32_t number, int64_t rows, int64_t cols) {
    return Format{kFp8, number, 8, 0, 0, rows, cols};
  };
  return {{"f32", plain(kF32)},
          {"bf16", plain(kBF16)},
          {"f16", plain(kF16)},
          {"int4 g128 f16", integer(kF16, 4, 128, 0, 0)},
          {"int4 g64 bf16", integer(kBF16, 4, 64, 0, 0)},
          {"int4 g32 bf16 zeros", integer(kBF16, 4, 32, 1, 0)},
          {"int4 g128 f16 zeros", integer(kF16, 4, 128, 1, 0)},
          {"int4 g32 f16 ordered", integer(kF16, 4, 32, 0, 1)},
          {"int4 whole row f32", integer(kF32, 4, n_in, 0, 0)},
          {"int8 whole row bf16", integer(kBF16, 8, n_in, 0, 0)},
          {"int8 g128 f16 zeros", integer(kF16, 8, 128, 1, 0)},
          {"fp8 128x128", fp8(kF32, 128, 128)},
          {"fp8 64x256 bf16", fp8(kBF16, 64, 256)},
          {"fp8 row", fp8(kF32, 1, n_in)},
          {"fp8 matrix", fp8(kF32, n_out, n_in)},
          {"mxfp8", fp8(kE8M0, 1, 32)},
          {"nvfp4", Format{kFp4, kE4M3, 4, 0, 0, 1, 16}},
          {"mxfp4", Format{kFp4, kE8M0, 4, 0, 0, 1, 32}}};
}

inline std::vector<double> widened(const std::vector<float>& x) {
  return {x.begin(), x.end()};
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Scratch of the generic operations.
inline Memory scratch_for(const ModelShape& s, int32_t max_tokens, int32_t n_workers) {
  return Memory(tested_backend()->ops->scratch_bytes(&s, max_tokens, n_workers));
}

/// A small model with sizes that fit no block.
inline ModelShape odd_shape() {
  ModelShape s{};
  s.n_layers = 1;
  s.hidden = 70;
  s.n_heads = 6;
  s.n_kv_heads = 2;
  s.head_dim = 10;
  s.rotary_dim = 6;
  s.n_experts = 9;
  s.top_k = 3;
  s.intermediate = 37;
  s.n_vocab = 11;
  s.rms_norm_eps = 1e-6f;
  s.rope_theta = 5e6;
  return s;
}

}  // namespace support
