// Python's view of UTF-8 text: code points, white space, lines.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace mm2::chat::jinja {

/// Reads one code point at `at` and moves behind it. Text is UTF-8, lone surrogates allowed.
char32_t next_code_point(std::string_view text, size_t& at);
/// Where the code point that ends at `end` begins.
size_t previous(std::string_view text, size_t end);
void append_code_point(std::string& out, char32_t c);
size_t length_of(std::string_view text);
/// Byte offset of code point `index`, or the size behind the end.
size_t offset_of(std::string_view text, size_t index);
std::vector<std::string_view> code_points(std::string_view text);

bool is_python_space(char32_t c);
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);
/// `chars` are the code points to take off.
std::string_view strip_left(std::string_view text, std::string_view chars);
std::string_view strip_right(std::string_view text, std::string_view chars);

/// Where a line ends, as str.splitlines sees it, and where the next begins.
struct LineEnd {
  size_t begin = 0;
  size_t end = 0;  // == begin at the end of the text
};
LineEnd find_line_end(std::string_view text, size_t from);

/// `from` replaced by `to`, at most `count` times (negative: always), as str.replace.
std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t count);
/// The parts between the separators, at least one.
std::vector<std::string_view> split_at(std::string_view text, char by);
std::string escape_html(std::string_view text);

}  // namespace mm2::chat::jinja
