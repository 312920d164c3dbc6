// What there is to run models on beside the processor, for people and programs.
#pragma once

#include <string>

#include "base/json.h"
#include "kernels/api/device.h"

namespace mm2 {

/// {"name", "compute_capability", "multiprocessors", "memory", "free", "l2", "driver", "runtime"}.
Json describe_device(const kernels::DeviceInfo& info);

/// {"available": bool, "detail": a sentence, "plugin": file or null, "devices": [...]}. plugin_path
/// as in DevicePlugin::open.
Json describe_devices(const std::string& plugin_path);

}  // namespace mm2
