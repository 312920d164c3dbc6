// Template text to tokens, with trim_blocks and lstrip_blocks on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace mm2::chat::jinja {

enum class Token : uint8_t {
  data,
  print_begin,
  print_end,
  tag_begin,
  tag_end,
  name,
  string,
  integer,
  real,
  op,
  end
};

struct Lexeme {
  Token type = Token::end;
  uint32_t line = 0;
  std::string text;  // string: its value; integer: as in Python, without underscores
};

/// Always ends with Token::end. Failures: Code::format, "TemplateSyntaxError: ...".
Result<std::vector<Lexeme>> tokenize(std::string_view source);

Status syntax_error(uint32_t line, const std::string& what);

}  // namespace mm2::chat::jinja
