#include "base/glob.h"

#include <cstddef>

namespace mm2 {

bool matches_glob(std::string_view name, std::string_view pattern) {
  size_t n = 0, p = 0;
  size_t star = pattern.npos, resume = 0;  // the last '*' and where its match ends so far
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != pattern.npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace mm2
