// Quantizers: weights in, codes and scales out. No I/O, every row range (for FP8:
// of whole blocks) independent of the others, so that results do not depend on how work is split.
//
// Each follows one public tool, bit for bit where that is possible; a rule is named after its tool.
// Where a tool would write NaN or a scale of 0, ours is a finite one over codes that all stand for 0.
// Weights that are NaN or infinite are Code::numeric with their place, impossible sizes and options
// Code::invalid_argument.
//
// Codes take one byte each, [n_rows, n_cols]: integers counted from 0 (the sign is the zero's
// business), E2M1 in the low 4 bits, E4M3 as it is. tools/quantize/pack.h makes files of them.
#pragma once

#include <cstdint>
#include <optional>

#include "base/status.h"
#include "tensor/dtype.h"
#include "tools/quantize/encode.h"
#include "tools/quantize/extremes.h"

namespace mm2 {

using coding::Arithmetic;

/// Integers: number = scale * (code - zero), one scale and zero for each group of columns.
enum class IntRule : uint8_t {
  auto_round,       // largest size / 8 as F16, negative where the largest is positive
  auto_round_opt,   // its OPT-RTN: 201 inverse scales, the one with the least (weighted) error
  auto_round_gptq,  // its symmetric codes in the manner of GPTQ: range / 15 as F16
  compressed_tensors,
  gptqmodel,
};

struct IntOptions {
  IntRule rule = IntRule::auto_round;
  int bits = 4;  // 2 to 8
  bool symmetric = true;
  int64_t group = 128;  // columns; 0: a whole row
  Arithmetic arithmetic = Arithmetic::f32;
  // [n_cols] weights of the squared errors, auto_round_opt only; 0: not seen in calibration
  const float* imatrix = nullptr;

  int64_t group_of(int64_t n_cols) const { return group == 0 ? n_cols : group; }
};

/// The type that holds the scales exactly. Files may want a narrower one.
Dtype int_scale_dtype(const IntOptions& options);

/// scales and zeros: [n_rows, n_cols / group]. Symmetric codes have the zero 2^(bits - 1); `zeros`
/// may be null then.
Status quantize_integers(const WeightRows& rows, const IntOptions& options, uint8_t* codes,
                         float* scales, uint8_t* zeros);

/// E4M3 with a scale for each block: number = scale * code.
enum class Fp8Rule : uint8_t {
  amax,                // largest size / 448; 1 for a block of zeros
  mse,                 // 25 scales from 0.92 to 1.16 of that, the one with the least squared error
  ue8m0,               // the power of two not below it, by the rule of deepgemm
  deepgemm,            // largest size at least 1e-4, weights times the inverse
  slime,               // largest size at least 1e-12
  compressed_tensors,  // in the weights' type; the last bit of its 1 for a block of zeros
  modelopt,            // in the weights' type; 1 for a block of zeros (the tool writes NaN)
};

struct Fp8Options {
  Fp8Rule rule = Fp8Rule::amax;
  int64_t block_rows = 128,
          block_cols = 128;                 // 0: all of them; blocks at the far edges are partial
  Arithmetic arithmetic = Arithmetic::f32;  // of compressed_tensors and modelopt
};

/// `rows` are whole blocks, but for the last ones of the matrix.
/// scales: [ceil(n_rows / block_rows), ceil(n_cols / block_cols)].
Status quantize_fp8(const WeightRows& rows, const Fp8Options& options, uint8_t* codes,
                    float* scales);

/// E2M1 with an E4M3 scale for 16 columns and an F32 scale for all.
enum class Nvfp4Rule : uint8_t {
  modelopt,            // number = code * (scale * global)
  compressed_tensors,  // number = code * (scale / global)
};

struct Nvfp4Options {
  Nvfp4Rule rule = Nvfp4Rule::modelopt;
  // each block takes 4 instead of 6 for its largest where the squared error is less then
  bool four_over_six = false;
  Arithmetic arithmetic = Arithmetic::f32;  // of the scales of compressed_tensors
};

constexpr int64_t kNvfp4Group = 16;

/// The largest size of any weight, 0 for none.
Result<float> largest_size(const WeightRows& rows);

/// The global scale for a matrix of that largest size. Matrices that engines fuse (w1 and w3; q, k
/// and v) must share one: take the largest size of all of them.
float nvfp4_global_scale(float largest, const Nvfp4Options& options);

/// scales: E4M3 [n_rows, n_cols / 16].
Status quantize_nvfp4(const WeightRows& rows, const Nvfp4Options& options, float global,
                      uint8_t* codes, uint8_t* scales);

/// E2M1 or E4M3 with a power of two for 32 columns.
enum class MxRule : uint8_t {
  compressed_tensors,
  auto_round,
  auto_round_opt,  // tries the exponent of 1, 1/2 and 2 times the largest size
  modelopt,        // never saturates; ties towards zero; E2M1 only
};

struct MxOptions {
  MxRule rule = MxRule::compressed_tensors;
  int bits = 4;  // 4: E2M1, 8: E4M3
  Arithmetic arithmetic = Arithmetic::f32;
};

constexpr int64_t kMxGroup = 32;

/// exponents: E8M0 [n_rows, n_cols / 32].
Status quantize_mx(const WeightRows& rows, const MxOptions& options, uint8_t* codes,
                   uint8_t* exponents);

}  // namespace mm2
