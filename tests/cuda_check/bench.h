// How fast a device runs synthetic weights of the true shape.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "cuda_check/plugin.h"

namespace check {

struct BenchOptions {
  std::string quant = "w4";  // w4, fp8, nvfp4, bf16
  int32_t n_layers = 62;
  int32_t n_experts = 192;
  bool brief = false;  // fewer tokens, short contexts
  bool tiny = false;   // a small model: whether the benchmark itself works
};

/// Prints a table on the way. Weights are random, never zeros; every layer has its own memory, so that
/// nothing of a step is in a cache at the next.
nlohmann::ordered_json run_bench(const Plugin& plugin, const BenchOptions& options);

/// Bytes per second that the device reads at best, from memory far larger than its cache; 0 where this
/// program was built without a compiler for devices.
double read_ceiling(int32_t device_index);

}  // namespace check
