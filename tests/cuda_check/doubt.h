// Arithmetic with doubt: what exact arithmetic gives for an operation, and how far a kernel may be from
// it. Bounds come from roundings counted, not from what was measured: u = 2^-24 for each rounding of an
// FP32 number, twice that where tensor cores add, which cut instead of rounding.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda_check/weights.h"

namespace check {

struct Doubtful {
  double value = 0, doubt = 0;
};
using Row = std::vector<Doubtful>;

constexpr double kRounding = 0x1p-24;
/// exp and 2^x of the kernels: relative.
constexpr double kExpError = 0x1p-20;
/// cos and sin in FP32.
constexpr double kAngleError = 0x1p-23;

/// What a kernel may do beyond adding FP32 numbers in any order.
struct Licence {
  double rounding = kRounding;   // of one addition
  double probability = 0x1p-16;  // rounding of a softmax weight, relative
};

Row exactly(const float* values, int64_t n);
/// As it enters a product: kBF16 rounds, and a number whose doubt reaches over a border of rounding may
/// have gone either way.
Row entered(const Row& x, int32_t activations);
/// w x, [n_out].
Row multiply(const HostMatrix& w, const Row& x, const Licence& licence);
Row add(const Row& a, const Row& b);
Row rms_norm(const Row& x, const std::vector<float>& weight, float eps);
/// Rotates the first rotary_dim components of each head of a token at `position`.
void rotate(Row& x, int32_t head_dim, int32_t rotary_dim, double theta, int32_t position);
/// silu(gate) * up.
Row gated(const Row& gate, const Row& up);

/// The greatest |got - value| / doubt; more than 1 is wrong. Infinite where got is not finite.
double worst_ratio(const float* got, const Row& want);

}  // namespace check
