// Runs a verb of tools/tools.h and compares what checkpoints hold.
#pragma once

#include <atomic>
#include <map>
#include <string>

#include "format/checkpoint.h"
#include "tools/tools.h"
#include "unit/format/temp_folder.h"

#include <catch2/catch.hpp>

namespace verbs {

struct Ran {
  mm2::Status status;
  mm2::Json report;
};

inline Ran run(std::string_view verb, mm2::Json options, const mm2::Host& host = {}) {
  Ran ran;
  if (!options.contains("threads")) options["threads"] = 2;
  ran.status = mm2::run_tool(verb, options, host, &ran.report);
  return ran;
}

inline bool says(const mm2::Status& status, const std::string& part) {
  return status.message().find(part) != std::string::npos;
}

/// A host that cancels after `n` reports of progress.
inline mm2::Host stopping_after(int n) {
  mm2::Host host;
  const auto left = std::make_shared<std::atomic<int>>(n);
  host.progress = [left](const mm2::Progress&) { return --*left >= 0; };
  return host;
}

/// Tensor name -> type, shape and bytes in one text.
inline std::map<std::string, std::string> contents(const std::string& folder) {
  const auto opened = mm2::Checkpoint::open(folder, mm2::Host{});
  INFO(opened.status().message());
  REQUIRE(opened.ok());
  std::map<std::string, std::string> all;
  for (const mm2::TensorInfo& tensor : (*opened)->tensors()) {
    std::string bytes(tensor.bytes, '\0');
    REQUIRE((*opened)->read(tensor, 0, bytes.size(), bytes.data()).ok());
    all[tensor.name] =
        mm2::join(mm2::dtype_name(tensor.dtype), tensor.shape.to_string(), "|") + bytes;
  }
  return all;
}

}  // namespace verbs
