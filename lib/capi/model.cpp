#include "capi/model.h"

#include <string_view>
#include <utility>

#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/host.h"
#include "capi/structs.h"
#include "mm2/engine.h"

namespace mm2::capi {

int32_t isa_of(const kernels::Backend& backend) {
  constexpr std::pair<std::string_view, int32_t> kNames[] = {
      {"generic", MM2_ISA_GENERIC},
      {"avx2", MM2_ISA_AVX2},
      {"avx512", MM2_ISA_AVX512},
      {"reference", MM2_ISA_REFERENCE},
      {"reference_f64", MM2_ISA_REFERENCE_F64}};
  for (const auto& [name, isa] : kNames) {
    if (name == backend.name) return isa;
  }
  return MM2_ISA_AUTO;
}

namespace {

/// Everything that a later version will know is refused, not ignored.
Status check_supported(const mm2_model_options& o) {
  MM2_RETURN_IF_ERROR(need_range("options.device", o.device, MM2_DEVICE_CPU, MM2_DEVICE_CUDA));
  const bool is_cpu = o.device == MM2_DEVICE_CPU;
  MM2_RETURN_IF_ERROR(
      need_range("options.device_index", o.device_index, 0, is_cpu ? 0 : INT32_MAX));
  if (is_cpu && o.device_plugin != nullptr)
    return error(Code::invalid_argument,
                 "options.device_plugin is given, and the device is the CPU");
  MM2_RETURN_IF_ERROR(need_range("options.reserved", o.reserved, 0, 0));
  if (o.comm != nullptr)
    return error(Code::unsupported, "options.comm: several ranks are not implemented");
  return {};
}

Result<ModelOptions> read_options(const mm2_model_options& o) {
  MM2_RETURN_IF_ERROR(check_supported(o));
  MM2_RETURN_IF_ERROR(need_range("options.metadata_only", o.metadata_only, 0, 1));
  MM2_RETURN_IF_ERROR(need_range("options.map_weights", o.map_weights, MM2_AUTO, MM2_YES));
  MM2_RETURN_IF_ERROR(need_range("options.n_threads", o.n_threads, 0, 1024));
  ModelOptions options;
  options.isa = static_cast<Isa>(o.isa);
  options.map_weights = static_cast<MapWeights>(o.map_weights);
  if (o.packed_cache != nullptr) options.packed_cache = o.packed_cache;
  options.n_threads = o.n_threads;
  options.device = static_cast<DeviceKind>(o.device);
  options.device_index = o.device_index;
  if (o.device_plugin != nullptr) options.device_plugin = o.device_plugin;
  options.metadata_only = o.metadata_only == 1;
  return options;
}

mm2_model_info info_of(const Model& model) {
  const ModelConfig& config = model.config();
  mm2_model_info info{};
  info.n_layers = config.n_layers;
  info.hidden = config.hidden;
  info.n_heads = config.n_heads;
  info.n_kv_heads = config.n_kv_heads;
  info.head_dim = config.head_dim;
  info.rotary_dim = config.rotary_dim;
  info.n_experts = config.n_experts;
  info.top_k = config.top_k;
  info.intermediate = config.intermediate;
  info.n_vocab = config.n_vocab;
  info.max_positions = config.max_positions;
  info.rope_theta = config.rope_theta;
  info.n_parameters = model.n_parameters();
  info.weight_bytes = model.weight_bytes().total();
  info.active_bytes_per_token = model.active_bytes_per_token();
  info.device = static_cast<int32_t>(model.device_kind());
  info.isa = isa_of(model.backend());
  info.has_weights = model.has_weights() ? 1 : 0;
  info.activations =
      model.default_activations() == kernels::kBF16 ? MM2_ACTIVATIONS_BF16 : MM2_ACTIVATIONS_F32;
  return info;
}

}  // namespace
}  // namespace mm2::capi

using namespace mm2::capi;  // NOLINT: this file is the border itself
using mm2::Status;

mm2_status mm2_model_options_init(mm2_model_options* options, size_t size) {
  return init_struct(options, size);
}

mm2_status mm2_model_info_init(mm2_model_info* info, size_t size) {
  return init_struct(info, size);
}

mm2_status mm2_model_load(const char* path, const mm2_model_options* options, mm2_model** out,
                          mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(path, "path"));
    MM2_RETURN_IF_ERROR(need(out, "out"));
    MM2_ASSIGN_OR_RETURN(const mm2_model_options given, read_struct(options, "options"));
    MM2_ASSIGN_OR_RETURN(const mm2::ModelOptions wanted, read_options(given));
    MM2_ASSIGN_OR_RETURN(const mm2::Host host, read_host(given.host));
    MM2_ASSIGN_OR_RETURN(auto model, mm2::Model::load(path, wanted, host));
    give(out, std::move(model));
    return {};
  });
}

mm2_status mm2_model_get_info(const mm2_model* model, mm2_model_info* info, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(model, "model"));
    MM2_RETURN_IF_ERROR(check_output(info, "info"));
    write_struct(info, info_of(*model->model));
    return {};
  });
}

mm2_status mm2_model_describe(const mm2_model* model, mm2_buffer* json, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(model, "model"));
    MM2_RETURN_IF_ERROR(need(json, "json"));
    json->bytes = model->model->describe().dump();
    return {};
  });
}

void mm2_model_destroy(mm2_model* model) {
  delete model;
}
