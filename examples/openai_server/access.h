// Who may call.
#pragma once

#include <string>
#include <vector>

namespace server {

/// Whether two texts are equal, in a time that depends on their lengths only.
inline bool equal_in_constant_time(const std::string& a, const std::string& b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    const unsigned char other = b.empty() ? 0 : static_cast<unsigned char>(b[i % b.size()]);
    difference |= static_cast<unsigned char>(a[i]) ^ other;
  }
  return difference == 0;
}

/// "example.org" of "http://example.org:8000"; "::1" of "[::1]:8000".
inline std::string host_name_of(std::string text) {
  if (const size_t scheme = text.find("://"); scheme != std::string::npos)
    text.erase(0, scheme + 3);
  if (!text.empty() && text[0] == '[') return text.substr(1, text.find(']') - 1);
  return text.substr(0, text.find(':'));
}

}  // namespace server
