// What a fuzz target promises about its inputs. A promise that does not hold ends the program, so
// that libFuzzer and the replaying main keep the input.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fuzz {

inline void require(bool holds, const char* promise, std::string_view found = {}) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n%s\n", promise,
               std::string(found.substr(0, 2000)).c_str());
  std::abort();
}

/// A failure says something, and is of a kind that such input may have.
inline void require_told(const mm2::Status& status, std::initializer_list<mm2::Code> expected) {
  require(!status.message().empty(), "a failure has a sentence");
  for (const mm2::Code code : expected) {
    if (status.code() == code) return;
  }
  require(false, "a failure is of a kind that is told for this call", status.message());
}

}  // namespace fuzz
