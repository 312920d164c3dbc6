// The correctness part: what is run, and what came of it.
#pragma once

#include <string>
#include <vector>

#include "cuda_check/plugin.h"

namespace check {

struct CheckOptions {
  bool full = false;   // true shapes of the family too: for a device, not for an emulator
  bool brief = false;  // one small shape, a format of each kind: for an emulator
  bool only_simple = false, only_fast = false;
  std::string only;  // names that hold this
};

struct Outcome {
  std::string name;
  std::string kernels;    // "simple", "fast", "resident" or "-"
  std::string result;     // "pass", "FAIL" or "unsupported"
  double worst = 0;       // error as a share of its bound
  std::string operation;  // where that was
  std::string detail;
};

/// Runs everything; calls `tell` after each.
std::vector<Outcome> run_checks(const Plugin& plugin, const CheckOptions& options,
                                void (*tell)(const Outcome&));

}  // namespace check
