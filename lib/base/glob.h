// Patterns of names as shells have them.
#pragma once

#include <string_view>

namespace mm2 {

/// '*' any run of characters, '?' any one. Linear in name x pattern.
bool matches_glob(std::string_view name, std::string_view pattern);

}  // namespace mm2
