#include "model.h"

#include "interrupt.h"

namespace mm2::python {
namespace {

struct LoadArguments {
  int32_t isa, n_threads, map_weights;
  bool metadata_only;
  std::optional<std::string> packed_cache;
  int32_t device, device_index;
  std::optional<std::string> device_plugin;
};

mm2_model_options options_of(const LoadArguments& given, const Host& host) {
  auto options = mm2::make<mm2_model_options>();
  options.isa = given.isa;
  options.n_threads = given.n_threads;
  options.map_weights = given.map_weights;
  options.metadata_only = given.metadata_only ? 1 : 0;
  if (given.packed_cache) options.packed_cache = given.packed_cache->c_str();
  options.device = given.device;
  options.device_index = given.device_index;
  if (given.device_plugin) options.device_plugin = given.device_plugin->c_str();
  options.host = host.get();
  return options;
}

mm2_status load(const std::string& path, const mm2_model_options& options, mm2_model** out,
                mm2_error* error) {
  const InterruptScope interrupts(nullptr);
  const py::gil_scoped_release released;
  return mm2_model_load(path.c_str(), &options, out, error);
}

std::unique_ptr<Model> load_model(const std::string& path, int32_t isa, int32_t n_threads,
                                  bool metadata_only, int32_t map_weights,
                                  std::optional<std::string> packed_cache, py::object callable,
                                  int32_t device, int32_t device_index,
                                  std::optional<std::string> device_plugin) {
  auto progress = std::make_unique<Progress>(std::move(callable));
  const Host host(progress.get());
  const LoadArguments given{isa,
                            n_threads,
                            map_weights,
                            metadata_only,
                            std::move(packed_cache),
                            device,
                            device_index,
                            std::move(device_plugin)};
  const mm2_model_options options = options_of(given, host);
  for (;;) {
    mm2_model* made = nullptr;
    auto error = mm2::make<mm2_error>();
    const mm2_status status = load(path, options, &made, &error);
    if (status == MM2_OK) return std::make_unique<Model>(mm2::Model(made), std::move(progress));
    progress->rethrow();
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    // A signal whose Python handler raised nothing: the load is done again.
    if (status != MM2_CANCELLED) throw mm2::Error(error);
  }
}

py::dict info_of(const Model& model) {
  const mm2_model_info i = model.handle.info();
  using namespace py::literals;
  return py::dict("n_layers"_a = i.n_layers, "hidden"_a = i.hidden, "n_heads"_a = i.n_heads,
                  "n_kv_heads"_a = i.n_kv_heads, "head_dim"_a = i.head_dim,
                  "rotary_dim"_a = i.rotary_dim, "n_experts"_a = i.n_experts, "top_k"_a = i.top_k,
                  "intermediate"_a = i.intermediate, "n_vocab"_a = i.n_vocab,
                  "max_positions"_a = i.max_positions, "rope_theta"_a = i.rope_theta,
                  "n_parameters"_a = i.n_parameters, "weight_bytes"_a = i.weight_bytes,
                  "active_bytes_per_token"_a = i.active_bytes_per_token, "isa"_a = i.isa,
                  "has_weights"_a = i.has_weights != 0, "device"_a = i.device);
}

}  // namespace

py::dict dict_of(const mm2_memory& m) {
  using namespace py::literals;
  return py::dict("host_weights"_a = m.host_weights, "host_kv"_a = m.host_kv,
                  "host_buffers"_a = m.host_buffers, "device_weights"_a = m.device_weights,
                  "device_kv"_a = m.device_kv, "device_buffers"_a = m.device_buffers,
                  "load_peak_host"_a = m.load_peak_host, "load_peak_device"_a = m.load_peak_device);
}

void bind_model(py::module_& m) {
  py::class_<Model>(m, "Model")
      .def(py::init(&load_model), py::arg("path"), py::kw_only(), py::arg("isa") = 0,
           py::arg("n_threads") = 0, py::arg("metadata_only") = false, py::arg("map_weights") = 0,
           py::arg("packed_cache") = py::none(), py::arg("progress") = py::none(),
           py::arg("device") = 0, py::arg("device_index") = 0,
           py::arg("device_plugin") = py::none())
      .def("_info", &info_of)
      .def("_describe", [](const Model& model) { return to_str(model.handle.describe()); })
      .def("_sampling", [](const Model& model) {
        const mm2_sampler_options o = model.handle.sampler_options();
        using namespace py::literals;
        return py::dict("temperature"_a = o.temperature, "top_k"_a = o.top_k, "top_p"_a = o.top_p,
                        "min_p"_a = o.min_p, "repetition_penalty"_a = o.repetition_penalty);
      });
}

}  // namespace mm2::python
