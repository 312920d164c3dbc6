// Regular expressions over the names of modules, as quantisers write them into configurations. Time
// is linear in the name whatever the pattern says.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace mm2 {

class Pattern {
 public:
  /// Python's syntax without look-around, back references and named groups: those, and patterns
  /// that are too large, are Code::unsupported; what is no pattern is Code::format.
  static Result<Pattern> compile(std::string_view text);

  /// Whether a beginning of the name matches (Python's re.match).
  bool at_start(std::string_view name) const { return run(name, false); }
  /// Whether some part of it does (re.search).
  bool anywhere(std::string_view name) const { return run(name, true); }

 private:
  friend class PatternCompiler;
  enum class Kind : uint8_t { bytes, split, begin, end, done };
  struct Node {
    Kind kind;
    int32_t next = -1;
    int32_t other = -1;  // of a split
    int32_t set = -1;    // of bytes
  };

  bool run(std::string_view name, bool any_start) const;

  std::vector<Node> nodes_;
  std::vector<std::bitset<256>> sets_;
  int32_t start_ = -1;
};

}  // namespace mm2
