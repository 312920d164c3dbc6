// mm2/status.h: versions, names, buffers, what was built and what it runs on.
#include "mm2/status.h"

#include "base/json.h"
#include "base/machine.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/structs.h"
#include "device/report.h"
#include "model/backends.h"

namespace mm2::capi {
namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#else
constexpr const char* kCompiler = "g++ " __VERSION__;
#endif

Json available_isas() {
  constexpr std::pair<Isa, const char*> kAll[] = {{Isa::generic, "generic"},
                                                  {Isa::avx2, "avx2"},
                                                  {Isa::avx512, "avx512"},
                                                  {Isa::reference, "reference"},
                                                  {Isa::reference_f64, "reference_f64"}};
  Json names = Json::array();
  for (const auto& [isa, name] : kAll) {
    if (choose_backend(isa).ok()) names.push_back(name);
  }
  return names;
}

Json build_info() {
  return {{"version", MM2_PRODUCT_VERSION},
          {"abi", MM2_ABI_VERSION},
          {"commit", MM2_COMMIT},
          {"compiler", kCompiler},
          {"build_type", MM2_BUILD_TYPE},
          {"isa", available_isas()},
          {"cuda", MM2_WITH_CUDA != 0},
          {"dependencies", {{"abseil", MM2_ABSL_VERSION}, {"nlohmann_json", MM2_JSON_VERSION}}}};
}

Json system_info() {
  const Machine machine = describe_machine();
  const auto backend = choose_backend(Isa::automatic);
  return {
      {"cpu", {{"name", machine.cpu}, {"features", machine.features}, {"cores", machine.cores}}},
      {"isa", backend.ok() ? Json((*backend)->name) : Json()},
      {"memory", {{"total", machine.memory_total}, {"available", machine.memory_available}}},
      {"cuda", describe_devices("")}};
}

mm2_status write_json(mm2_buffer* json, mm2_error* err, Json (*make)()) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(json, "json"));
    json->bytes = make().dump();
    return {};
  });
}

}  // namespace
}  // namespace mm2::capi

using namespace mm2::capi;  // NOLINT: this file is the border itself

mm2_status mm2_error_init(mm2_error* error, size_t size) {
  return init_struct(error, size);
}

uint32_t mm2_abi_version(void) {
  return MM2_ABI_VERSION;
}

const char* mm2_version_string(void) {
  return MM2_PRODUCT_VERSION;
}

const char* mm2_status_name(mm2_status status) {
  switch (status) {
    case MM2_OK:
      return "MM2_OK";
    case MM2_KV_EXHAUSTED:
      return "MM2_KV_EXHAUSTED";
    case MM2_CANCELLED:
      return "MM2_CANCELLED";
    case MM2_NO_MORE:
      return "MM2_NO_MORE";
    case MM2_E_INVALID_ARGUMENT:
      return "MM2_E_INVALID_ARGUMENT";
    case MM2_E_OUT_OF_MEMORY:
      return "MM2_E_OUT_OF_MEMORY";
    case MM2_E_IO:
      return "MM2_E_IO";
    case MM2_E_FORMAT:
      return "MM2_E_FORMAT";
    case MM2_E_UNSUPPORTED:
      return "MM2_E_UNSUPPORTED";
    case MM2_E_NOT_FOUND:
      return "MM2_E_NOT_FOUND";
    case MM2_E_BUDGET:
      return "MM2_E_BUDGET";
    case MM2_E_NUMERIC:
      return "MM2_E_NUMERIC";
    case MM2_E_BUSY:
      return "MM2_E_BUSY";
    case MM2_E_CHECK_FAILED:
      return "MM2_E_CHECK_FAILED";
    case MM2_E_DEVICE:
      return "MM2_E_DEVICE";
    case MM2_E_DEVICE_LOST:
      return "MM2_E_DEVICE_LOST";
    case MM2_E_FORKED:
      return "MM2_E_FORKED";
    case MM2_E_INTERNAL:
      return "MM2_E_INTERNAL";
  }
  return "unknown status";
}

mm2_status mm2_buffer_create(mm2_buffer** out, mm2_error* err) {
  return guarded(err, [&]() -> mm2::Status {
    MM2_RETURN_IF_ERROR(need(out, "out"));
    *out = new mm2_buffer;
    return {};
  });
}

const void* mm2_buffer_data(const mm2_buffer* buffer) {
  return buffer == nullptr ? nullptr : buffer->bytes.data();
}

size_t mm2_buffer_size(const mm2_buffer* buffer) {
  return buffer == nullptr ? 0 : buffer->bytes.size();
}

void mm2_buffer_clear(mm2_buffer* buffer) {
  if (buffer != nullptr) buffer->bytes.clear();
}

void mm2_buffer_destroy(mm2_buffer* buffer) {
  delete buffer;
}

mm2_status mm2_build_info(mm2_buffer* json, mm2_error* err) {
  return write_json(json, err, build_info);
}

mm2_status mm2_system_info(mm2_buffer* json, mm2_error* err) {
  return write_json(json, err, system_info);
}
