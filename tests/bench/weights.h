// The operation `linear` for benchmarks, and the same product by Eigen.
#pragma once

#include <Eigen/Dense>

#include "bench/probe.h"
#include "kernels/api/backend.h"

namespace bench {

using EigenMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// A matrix for Eigen, F32, in memory of the same kind as that of packed ones.
struct PlainMatrix {
  Bytes bytes;
  Eigen::Map<EigenMatrix> matrix;

  PlainMatrix(int64_t n_out, int64_t n_in)
      : bytes(n_out * n_in * 4), matrix(reinterpret_cast<float*>(bytes.data.get()), n_out, n_in) {
    matrix.setRandom();
  }
};

/// Everything that `linear` needs for n_tokens tokens.
class Linear {
 public:
  Linear(const mm2::kernels::Backend& backend, Team& team, int64_t n_out, int64_t n_in,
         int32_t n_tokens)
      : backend_(backend),
        team_(team),
        n_tokens_(n_tokens),
        x_(static_cast<size_t>(n_tokens * n_in)),
        y_(static_cast<size_t>(n_tokens * n_out)),
        scratch_(scratch_bytes(backend, team, n_in, n_tokens)) {
    uint64_t seed = 7;
    for (float& v : x_) v = random_float(seed);
  }

  void run(const mm2::kernels::Matrix& w, int32_t activations) {
    const mm2::kernels::LinearArgs<float> args{
        x_.data(), &w, nullptr, n_tokens_, activations, y_.data(), scratch_.data.get()};
    backend_.ops->linear(team_.get(), &args);
  }

  /// Eigen on the same number of threads, each with its share of the rows of w.
  void run_eigen(const Eigen::Map<EigenMatrix>& w) {
    const Eigen::Map<const EigenMatrix> x(x_.data(), n_tokens_, w.cols());
    Eigen::Map<EigenMatrix> y(y_.data(), n_tokens_, w.rows());
    const int32_t n = team_.n_threads();
    team_.run(n, [&](int32_t i, int32_t) {
      const int64_t first = w.rows() * i / n, end = w.rows() * (i + 1) / n;
      if (n_tokens_ == 1) {
        y.row(0).segment(first, end - first).transpose().noalias() =
            w.middleRows(first, end - first) * x.row(0).transpose();
      } else {
        y.middleCols(first, end - first).noalias() =
            x * w.middleRows(first, end - first).transpose();
      }
    });
  }

 private:
  static int64_t scratch_bytes(const mm2::kernels::Backend& backend, Team& team, int64_t n_in,
                               int32_t n_tokens) {
    mm2::kernels::ModelShape s{};
    s.hidden = static_cast<int32_t>(n_in);
    s.n_heads = s.n_kv_heads = 1;
    s.head_dim = s.rotary_dim = 2;
    s.n_experts = s.top_k = 1;
    s.intermediate = 64;
    return backend.ops->scratch_bytes(&s, n_tokens, team.n_threads());
  }

  const mm2::kernels::Backend& backend_;
  Team& team_;
  int32_t n_tokens_;
  std::vector<float> x_, y_;
  Bytes scratch_;
};

}  // namespace bench
