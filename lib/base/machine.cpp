#include "base/machine.h"

#include <cstdlib>
#include <fstream>
#include <string_view>

#include "base/executor.h"

namespace mm2 {
namespace {

/// What stands after "key ... :" on the first line of a /proc file that begins with key.
std::string field_of(const char* file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.compare(0, key.size(), key) != 0) continue;
    const size_t colon = line.find(':', key.size());
    const size_t begin =
        colon == std::string::npos ? colon : line.find_first_not_of(' ', colon + 1);
    return begin == std::string::npos ? std::string() : line.substr(begin);
  }
  return {};
}

uint64_t memory_field(std::string_view key) {
  return std::strtoull(field_of("/proc/meminfo", key).c_str(), nullptr, 10) * 1024;  // "123 kB"
}

std::vector<std::string> cpu_features() {
  std::vector<std::string> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
#define MM2_ADD_FEATURE(name) \
  if (__builtin_cpu_supports(name)) found.emplace_back(name)
  MM2_ADD_FEATURE("sse4.2");
  MM2_ADD_FEATURE("avx2");
  MM2_ADD_FEATURE("fma");
  MM2_ADD_FEATURE("avx512f");
  MM2_ADD_FEATURE("avx512bw");
  MM2_ADD_FEATURE("avx512vl");
  MM2_ADD_FEATURE("avx512vnni");
  MM2_ADD_FEATURE("avx512bf16");
#undef MM2_ADD_FEATURE
#endif
  return found;
}

}  // namespace

Machine describe_machine() {
  return {field_of("/proc/cpuinfo", "model name"), cpu_features(), usable_cores(),
          memory_field("MemTotal"), memory_field("MemAvailable")};
}

}  // namespace mm2
