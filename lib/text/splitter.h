// The pre-tokenizer of the M2 family: text into pieces that byte-pair encoding never joins.
#pragma once

#include <cstddef>
#include <string_view>

namespace mm2 {

/// The split pattern as tokenizer.json spells it.
extern const std::string_view kM2SplitPattern;

/// End of the piece that begins at `begin` < text.size(). `text` is well-formed UTF-8, `begin` the
/// start of a character. The pieces tile the text; taking them one after the other is linear in its
/// length. Equal to a backtracking engine on kM2SplitPattern with the classes of Unicode 16.0.
size_t next_piece(std::string_view text, size_t begin);

}  // namespace mm2
