// str.isprintable() of one code point, Unicode 14.0: what Python's repr() leaves unescaped.
#pragma once

namespace mm2::chat {

bool is_printable(char32_t code_point);

}  // namespace mm2::chat
