// Scales of an FP8 cache of keys and values, as calibration left them in the checkpoint: a stored
// code times the scale is the number (largest size / 448 of a layer, or of each head).
//
// Known names, behind "model.layers.N.self_attn.":
//   k_proj.k_scale, v_proj.v_scale        ModelOpt
//   k_scale, v_scale                      compressed-tensors
//   attn.k_scale, attn.v_scale            engines
//   qkv_proj.k_scale, qkv_proj.v_scale    engines that fuse projections
//   kv_scale, attn.kv_scale               one for both, no longer written
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tensor/source.h"

namespace mm2 {

/// The tensors of a checkpoint, by layer; all empty where it has none.
struct KvScalePlaces {
  std::vector<const TensorInfo*> k, v;  // [n_layers]; the same one where it is for both
  // where only one of the two is there: it serves for both, as engines have it
  std::string remark;

  bool empty() const { return k.empty(); }
};

/// Code::format names both sides where a layer has two spellings, or layers differ in spelling,
/// shape or in having any.
Result<KvScalePlaces> locate_kv_scales(const TensorSource& source, int32_t n_layers);

/// "X.k_bias", "X.v_bias": what an affine cache would subtract; engines do not read them.
bool is_kv_bias(std::string_view name);

struct KvScales {
  std::vector<float> k, v;  // [n_layers, n_kv_heads]; empty: the checkpoint has none

  bool empty() const { return k.empty(); }
};

/// Code::format names tensor, place and value: each has one element or one for each head, finite and
/// above 0.
Result<KvScales> read_kv_scales(const KvScalePlaces& places, const TensorSource& source,
                                int32_t n_kv_heads);

}  // namespace mm2
