#include "kernels/cuda/simple/simple.h"

namespace mm2::kernels::cuda {
namespace {

int64_t scratch_bytes(const ModelShape& s, const DeviceLimits& limits) {
  const int64_t experts = simple::experts_scratch(s, limits.max_tokens);
  const int64_t router = simple::router_scratch(s, limits.max_tokens);
  return experts > router ? experts : router;
}

constexpr DeviceOps kOps = {"simple",          scratch_bytes,  nullptr,
                            nullptr,           simple::embed,  simple::rope_table,
                            simple::rms_norm,  simple::linear, simple::qkv,
                            simple::attention, simple::router, simple::experts,
                            nullptr,           nullptr,        nullptr,
                            nullptr,           nullptr};

}  // namespace

const DeviceOps* simple_ops() {
  return &kOps;
}

}  // namespace mm2::kernels::cuda
