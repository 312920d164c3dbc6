#include "tensor/role.h"

namespace mm2 {

std::string_view role_name(Role role) {
  static constexpr std::string_view kNames[] = {
      "embedding", "final_norm", "lm_head",     "input_norm", "post_attention_norm",
      "q_norm",    "k_norm",     "q_proj",      "k_proj",     "v_proj",
      "o_proj",    "router",     "router_bias", "w1",         "w2",
      "w3",
  };
  static_assert(sizeof(kNames) / sizeof(kNames[0]) == kRoles);
  return kNames[static_cast<int>(role)];
}

}  // namespace mm2
