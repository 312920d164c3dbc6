// Text out of pieces.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace mm2 {

/// abseil may be built with a string_view of its own, which std::string_view does not convert to;
/// other types pass through.
inline absl::string_view as_piece(std::string_view text) {
  return {text.data(), text.size()};
}
template <typename T>
requires(!std::is_same_v<T, std::string_view>) const T& as_piece(const T& piece) {
  return piece;
}

/// absl::StrCat that also takes std::string_view.
template <typename... Pieces>
std::string join(const Pieces&... pieces) {
  return absl::StrCat(as_piece(pieces)...);
}

}  // namespace mm2
