// Canonical composition (Unicode normalisation form NFC) with the data of Unicode 9.0.
#pragma once

#include <string>
#include <string_view>

namespace mm2 {

/// NFC of well-formed UTF-8, as Hugging Face tokenizers computes it. Returns `text` itself if it is
/// in NFC already, else a view of `*buffer`, which is overwritten. O(n log n) at worst, linear for
/// text that people write.
std::string_view nfc(std::string_view text, std::string* buffer);

}  // namespace mm2
