// The table of the plug-in.
#include "kernels/api/device.h"
#include "kernels/cuda/layout/pack.h"
#include "kernels/cuda/plugin/engine.h"

namespace mm2::kernels::cuda {
namespace {

int64_t bytes_of_packed(const Format* format, int64_t n_out, int64_t n_in) {
  return packed_bytes(*format, n_out, n_in);
}

int64_t bytes_of_kv_block(const ModelShape* shape, int32_t block_size, int32_t number) {
  return kv_layout_of(*shape, block_size, number).block_bytes;
}

// Without tables of blocks, whose size follows from positions: engine_bytes has all.
int64_t bytes_of_scratch(const ModelShape* shape, int32_t max_tokens, int32_t max_outputs,
                         int32_t /*n_workers*/) {
  DeviceEngineOptions options{};
  options.kv.block_size = kAttentionBlock;
  options.kv.number = kF32;
  options.max_tokens = max_tokens;
  options.max_outputs = max_outputs;
  options.max_rows = max_tokens;
  options.max_positions = 1;
  return engine_bytes(shape, &options);
}

constexpr Backend kBackend = {"cuda",
                              kF32,
                              bytes_of_packed,
                              pack_on_host,
                              static_cast<int32_t>(kBlockRows),
                              false,
                              bytes_of_kv_block,
                              bytes_of_scratch,
                              nullptr,
                              nullptr,
                              nullptr,
                              nullptr,
                              kTakenCodeLayouts};

constexpr Plugin kPlugin = {
    kPluginVersion, sizeof(Plugin), "cuda",          &kBackend,   count_devices, device_info,
    open_device,    close_device,   allocate,        release,     copy_to,       copy_from,
    pack,           make_model,     free_model,      make_engine, free_engine,   step,
    copy_block,     read_positions, write_positions, describe,    engine_bytes};

}  // namespace
}  // namespace mm2::kernels::cuda

extern "C" __attribute__((visibility("default"))) const mm2::kernels::Plugin* mm2_device_plugin() {
  return &mm2::kernels::cuda::kPlugin;
}
