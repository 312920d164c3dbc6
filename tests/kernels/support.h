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
#include "kernels/api/numbers.h"
#include "kernels/ref/ref.h"

#include <catch2/catch.hpp>

namespace support {

using namespace mm2::kernels;

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

/// A matrix of random numbers, in file layout and as each backend packs it.
class Weights {
 public:
  Weights(Random& random, int64_t n_out, int64_t n_in, int32_t number, float scale = 1.0f)
      : Weights(random.vector(n_out * n_in, scale), n_out, n_in, number) {}

  Weights(const std::vector<float>& values, int64_t n_out, int64_t n_in, int32_t number)
      : codes_(encode(values, number)),
        packed_(generic_backend()->packed_bytes(kPlain, number, n_out, n_in)) {
    const MatrixRows rows{kPlain, number, n_out, n_in, 0, n_out, codes_.data()};
    generic_backend()->pack(&rows, packed_.get());
    ref = {kPlain, number, n_out, n_in, codes_.data()};
    generic = {kPlain, number, n_out, n_in, packed_.get()};
  }

  double at(int64_t row, int64_t k) const {
    double one = 0;
    const int64_t i = row * ref.n_in + k;
    if (ref.number == kF32) {
      float x;
      std::memcpy(&x, &codes_[static_cast<size_t>(4 * i)], 4);
      one = x;
    } else {
      uint16_t code;
      std::memcpy(&code, &codes_[static_cast<size_t>(2 * i)], 2);
      one = ref.number == kBF16 ? bf16_to_f32(code) : f16_to_f32(code);
    }
    return one;
  }

  Matrix ref, generic;

 private:
  std::vector<char> codes_;
  Memory packed_;
};

inline std::vector<double> widened(const std::vector<float>& x) {
  return {x.begin(), x.end()};
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Scratch of the generic operations.
inline Memory scratch_for(const ModelShape& s, int32_t max_tokens, int32_t n_workers) {
  return Memory(generic_backend()->ops->scratch_bytes(&s, max_tokens, n_workers));
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
