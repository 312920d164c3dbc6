// The plug-in of a device: found by rule, opened at run time, refused unless it was built from the
// same kernels/api as this library.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "base/status.h"
#include "kernels/api/device.h"

namespace mm2 {

/// The file that is looked for where nobody names one.
constexpr const char* kPluginFile = "libmm2_cuda.so";

class DevicePlugin {
 public:
  /// path: that file and no other. Empty: kPluginFile beside this library (or beside the program that
  /// it is part of), then where the loader looks for libraries. Code::unsupported tells every place
  /// and the loader's words; a plug-in of another version is refused, not passed over.
  ///
  /// What was opened stays in the process: its run-time library gives the driver addresses of
  /// functions, so its code must never go. Opening it again costs nothing.
  static Result<std::shared_ptr<const DevicePlugin>> open(const std::string& path);
  const kernels::Plugin& table() const { return *table_; }
  const kernels::Backend& backend() const { return *table_->backend; }
  /// The file that was opened.
  const std::string& file() const { return file_; }

  /// How many devices there are: at least 1, or why there is none.
  Result<int32_t> count() const;
  Result<kernels::DeviceInfo> info(int32_t index) const;

 private:
  DevicePlugin(const kernels::Plugin* table, std::string file)
      : table_(table), file_(std::move(file)) {}

  const kernels::Plugin* table_;
  std::string file_;
};

/// A failed call as a Status: its sentence, the device's own error number.
Status device_status(const kernels::Plugin& table, int32_t code, const kernels::DeviceError& error);

}  // namespace mm2
