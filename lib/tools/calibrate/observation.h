// What is counted of one layer while tokens pass through it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/executor.h"
#include "base/status.h"
#include "tools/experts/saliency.h"

namespace mm2 {

struct CollectOptions {
  bool reap = true;      // what saliencies are made of
  bool imatrix = false;  // sums of squares and of sizes of each input of each matrix
  bool amax = false;     // largest sizes of inputs
  bool kv = false;       // largest sizes of keys and values, as cached
  bool hessian = false;  // sums of x x^T of the inputs
};

/// Inputs of one matrix, or of several that read the same ones.
class InputSums {
 public:
  InputSums() = default;
  InputSums(int64_t width, const CollectOptions& options);

  /// Adds rows, [rows.size(), width] without gaps, those with mark 1 only (marks empty: all). Sums go
  /// over rows in their order, so results depend on nothing else.
  void add(std::span<const float> rows, std::span<const uint8_t> marks, Executor& executor);

  int64_t width() const { return width_; }
  int64_t n_rows() const { return n_rows_; }
  float amax() const { return amax_; }
  std::span<const double> squares() const { return squares_; }  // [width], empty if not collected
  std::span<const double> sizes() const { return sizes_; }      // likewise
  std::span<const float> hessian() const { return hessian_; }   // [width, width], likewise

 private:
  int64_t width_ = 0, n_rows_ = 0;
  bool wants_amax_ = false;
  float amax_ = 0;
  std::vector<double> squares_, sizes_;
  std::vector<float> hessian_;
};

struct LayerObservation {
  LayerObservation(int32_t n_experts, int64_t hidden, int64_t q_width, int64_t intermediate,
                   int32_t n_kv_heads, const CollectOptions& options);

  LayerSaliency experts;
  InputSums attention_in;        // of q, k, v: [hidden]
  InputSums o_in;                // [n_heads * head_dim]
  std::vector<InputSums> w1_in;  // of w1 and w3, [n_experts] of [hidden]
  std::vector<InputSums> w2_in;  // [n_experts] of [intermediate]
  std::vector<float> k_amax;     // [n_kv_heads]
  std::vector<float> v_amax;     // [n_kv_heads]
};

/// Bytes that the sums of one layer take.
uint64_t observation_bytes(int32_t n_experts, int64_t hidden, int64_t q_width, int64_t intermediate,
                           const CollectOptions& options);

}  // namespace mm2
