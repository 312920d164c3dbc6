// The machine this process runs on, for people to read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mm2 {

struct Machine {
  std::string cpu;                    // as the kernel names it; empty when it does not
  std::vector<std::string> features;  // instruction sets that matter for inference
  int32_t cores = 0;                  // that this process may use
  uint64_t memory_total = 0;          // bytes; 0 = unknown
  uint64_t memory_available = 0;
};

/// Reads /proc; what cannot be read stays empty.
Machine describe_machine();

}  // namespace mm2
