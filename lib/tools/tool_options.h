// Options of the verbs, read strictly.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/executor.h"
#include "base/glob.h"
#include "base/host.h"
#include "base/json.h"
#include "base/status.h"
#include "tools/stream/hash.h"

namespace mm2 {

struct ToolOptions {
  std::string model;
  int32_t threads = 0;  // 0: the host's executor, else all usable cores
  bool strict = false;
  int32_t layer = -1;  // -1: all
  std::string tensor;  // glob; empty: all
  bool deep = false;
  HashKind hash = HashKind::none;
  std::string manifest;
};

/// Refuses options that are not in `allowed` and values of another type, by name.
Result<ToolOptions> read_tool_options(std::string_view verb, const Json& options,
                                      std::span<const std::string_view> allowed);

/// The threads that a tool works with; 0: the host's executor, else all usable cores.
Result<std::shared_ptr<Executor>> tool_executor(int32_t threads, const Host& host);

}  // namespace mm2
