// `mm2 tensor OP`: one operation on some tensors of one file, for experiments and for checking
// against the results of other tools.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace mm2 {

struct NamedTensor {
  std::string name;
  Dtype dtype = Dtype::f32;
  Shape shape;
  std::vector<std::byte> bytes;  // dense, row by row, as dtype and shape need
};

struct TensorOpResult {
  std::vector<NamedTensor> tensors;  // what the output file will hold, names as on disk
  Json figures = Json::object();     // what else was found, for the report
};

/// An operation: `tensors` are those that were asked for, in that order; `params` is an object that
/// it reads strictly (tools/option_reader.h). Pure: no files, no state.
using TensorOp = Status (*)(const Json& params, std::span<const NamedTensor> tensors,
                            TensorOpResult& result);

// One row for each is in tensor_op.cpp.

/// Matrices into codes and scales (tools/quant_recipe.h), and: imatrix, hessian (names among the tensors),
/// share_scale (one global scale for all).
Status quantize_op(const Json& params, std::span<const NamedTensor> tensors,
                   TensorOpResult& result);
/// All tensors of matrices in the layout `format` as numbers: bits, v1_zeros (refuse, words, fields),
/// dtype (F32, BF16, F16).
Status dequantize_op(const Json& params, std::span<const NamedTensor> tensors,
                     TensorOpResult& result);
/// The same from the layout `from` to `format` without changing a number (tools/quantize/repack.h): bits,
/// v1_zeros, sym, group, scale_dtype, may_round_scales, positive_scales.
Status repack_op(const Json& params, std::span<const NamedTensor> tensors, TensorOpResult& result);
/// The parents are `tensors`, an FP8 one followed by its scales; one output, "out" unless
/// params.name says otherwise, with OUT_scale_inv where it is fp8.
Status merge_op(const Json& params, std::span<const NamedTensor> tensors, TensorOpResult& result);
/// match: [original router, reference router]; min_margin, max_cost. Which expert is which, as figures
/// and tensors; Code::check_failed where that is not certain (tools/experts/matching.h).
Status match_op(const Json& params, std::span<const NamedTensor> tensors, TensorOpResult& result);
/// reap: [router, router bias, w1, w2, w3, tokens]; top_k, and to choose: method, ratio or n_removed,
/// protect. Saliencies by every method as F64 tensors (tools/experts/saliency.h).
Status reap_op(const Json& params, std::span<const NamedTensor> tensors, TensorOpResult& result);

/// Elements of F32, F16, BF16 or F64 as F32; Code::invalid_argument names tensor and type otherwise.
Result<std::vector<float>> to_f32(const NamedTensor& tensor);
/// A tensor of F32 or BF16 (rounded to nearest even) or F16 from numbers.
NamedTensor from_f32(std::string name, Dtype dtype, Shape shape, std::span<const float> values);

}  // namespace mm2
