// The weights of the model by what they do, and where one of them lies in a checkpoint.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tensor/shape.h"

namespace mm2 {

/// Matrices are [out, in]: w1 = gate [intermediate, hidden], w3 = up [intermediate, hidden],
/// w2 = down [hidden, intermediate].
enum class Role : uint8_t {
  embedding,            // [n_vocab, hidden]
  final_norm,           // [hidden]
  lm_head,              // [n_vocab, hidden]
  input_norm,           // [hidden]
  post_attention_norm,  // [hidden]
  q_norm,               // [n_heads * head_dim]
  k_norm,               // [n_kv_heads * head_dim]
  q_proj,               // [n_heads * head_dim, hidden]
  k_proj,               // [n_kv_heads * head_dim, hidden]
  v_proj,               // [n_kv_heads * head_dim, hidden]
  o_proj,               // [hidden, n_heads * head_dim]
  router,               // [n_experts, hidden]
  router_bias,          // [n_experts]
  w1,
  w2,
  w3,
};
constexpr int kRoles = static_cast<int>(Role::w3) + 1;

/// Short name for reports: "q_proj", "w1".
std::string_view role_name(Role role);

/// The roles that a weight scheme may quantise: q/k/v/o_proj, w1, w2, w3 (embedding and lm_head
/// stay plain in this family).
constexpr bool is_linear(Role role) {
  return (role >= Role::q_proj && role <= Role::o_proj) || role >= Role::w1;
}

/// Where one weight lies. A plain weight is rows [first_row, first_row + n_rows) of the tensor
/// `stem + (bare ? "" : ".weight")` seen as a matrix of its last extent; a quantised one is in
/// several tensors `stem + suffix` (quant/scheme.h).
struct WeightPlace {
  Role role = Role::embedding;
  int32_t layer = -1;   // -1: not of a layer
  int32_t expert = -1;  // -1: not of an expert
  std::string name;     // the official name, ".weight" included, for messages
  std::string stem;     // as stored
  bool bare = false;    // the tensor is called `stem` itself
  bool found = false;   // some tensor of that stem exists
  Shape shape;          // of this weight alone: [n_rows, n_cols], or [n_cols] for a vector
  // of the whole tensor when it is plain: more rows, or [n_experts, rows, cols], if fused
  Shape stored;
  int64_t first_row = 0;

  int64_t n_rows() const { return shape.n_rows(); }
  int64_t n_cols() const { return shape.n_cols(); }
};

}  // namespace mm2
