#include "device/report.h"

#include "device/plugin.h"

namespace mm2 {
namespace {

std::string version_of(int32_t number) {  // 13000 = 13.0
  return join(number / 1000, ".", number % 1000 / 10);
}

}  // namespace

Json describe_device(const kernels::DeviceInfo& d) {
  return {{"name", d.name},
          {"compute_capability", join(d.major, ".", d.minor)},
          {"multiprocessors", d.n_multiprocessors},
          {"memory", d.memory_bytes},
          {"free", d.free_bytes},
          {"l2", d.l2_bytes},
          {"driver", version_of(d.driver_version)},
          {"runtime", version_of(d.runtime_version)}};
}

Json describe_devices(const std::string& plugin_path) {
  Json report = {
      {"available", false}, {"detail", ""}, {"plugin", nullptr}, {"devices", Json::array()}};
  const auto plugin = DevicePlugin::open(plugin_path);
  if (!plugin.ok()) {
    report["detail"] = plugin.status().message();
    return report;
  }
  report["plugin"] = (*plugin)->file();
  const auto n = (*plugin)->count();
  if (!n.ok()) {
    report["detail"] = join((*plugin)->file(), ": ", n.status().message());
    return report;
  }
  std::string names;
  for (int32_t i = 0; i < *n; ++i) {
    const auto info = (*plugin)->info(i);
    if (!info.ok()) {
      report["detail"] = join("device ", i, ": ", info.status().message());
      return report;
    }
    Json device = describe_device(*info);
    device["index"] = i;
    report["devices"].push_back(std::move(device));
    names += join(names.empty() ? "" : ", ", i, ": ", info->name);
  }
  report["available"] = true;
  report["detail"] = join((*plugin)->file(), " (", names, ")");
  return report;
}

}  // namespace mm2
