#include "chat/document.h"

#include <algorithm>
#include <cmath>
#include <system_error>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/charconv.h"
#include "absl/strings/string_view.h"
#include "chat/json_text.h"
#include "text/json_scan.h"
#include "text/utf8.h"

namespace mm2::chat {
namespace {

constexpr size_t kIndexFrom = 16;  // members of an object; fewer keys are compared one by one

constexpr size_t kMaxDigits = 4300;  // of an integer, as in Python

// In the type whose hash is seeded per process: a request cannot be made of colliding keys.
absl::string_view hashed(std::string_view text) {
  return {text.data(), text.size()};
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Reads without recursion. Children of open collections wait on a stack and move to the arena when
// their number is known.
class Reader {
  using Index = absl::flat_hash_map<absl::string_view, size_t>;

 public:
  Reader(std::string_view text, const std::string& what, Arena* arena)
      : text_(text), what_(what), arena_(*arena) {}

  Status read(Value* root);

 private:
  struct Level {
    bool is_object = false;
    size_t values = 0;  // where its children begin on the stacks
    size_t keys = 0;
    size_t slot = 0;  // of the child that is being read
    std::unique_ptr<Index> index;
  };

  // All of these return false when status_ has become a failure.
  bool fail(const std::string& problem);
  bool unexpected(const char* wanted);
  char peek() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool scalar(char first, Value* value);
  bool word(std::string_view word);
  bool number(Value* value);
  bool string(std::string_view* value);
  bool escape(char** to);
  bool hex4(uint32_t* unit);
  bool open(char bracket);
  bool key();
  void place(const Value& value);
  Value close();
  bool after_value(bool* done);

  std::string_view text_;
  const std::string& what_;
  Arena& arena_;
  size_t at_ = 0;
  Status status_;
  std::vector<Level> levels_;
  std::vector<Value> values_;
  std::vector<std::string_view> keys_;
};

bool Reader::fail(const std::string& problem) {
  const std::string_view before = text_.substr(0, at_);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  status_ = error(Code::format, what_, ": line ", line, ", column ",
                  at_ - (before.rfind('\n') + 1) + 1, ": ", problem);
  return false;
}

bool Reader::unexpected(const char* wanted) {
  if (at_ >= text_.size()) return fail(join("expected ", wanted, ", found the end"));
  const auto byte = static_cast<unsigned char>(text_[at_]);
  const bool shown = byte >= 0x20 && byte < 0x7F;
  return fail(join("expected ", wanted, ", found ",
                   shown ? join("'", std::string(1, text_[at_]), "'") : join("byte ", int{byte})));
}

Status Reader::read(Value* root) {
  if (text_.substr(0, 3) == "\xEF\xBB\xBF") {
    return error(Code::format, what_, ": starts with a byte order mark, JSON must not");
  }
  if (const size_t good = utf8::valid_prefix(text_); good != text_.size())
    return error(Code::format, what_, ": byte ", good, " is not UTF-8");
  values_.reserve(256);
  keys_.reserve(64);
  for (bool done = false; !done;) {
    const char c = peek();
    if (c == '{' || c == '[') {
      if (!open(c)) return status_;
      const bool is_object = c == '{';
      if (peek() != (is_object ? '}' : ']')) {
        if (is_object && !key()) return status_;
        continue;
      }
      ++at_;
      place(close());
    } else {
      Value value;
      if (!scalar(c, &value)) return status_;
      place(value);
    }
    if (!after_value(&done)) return status_;
  }
  if (peek() != '\0' || at_ != text_.size()) unexpected("the end");
  *root = values_[0];
  return status_;
}

// Closing brackets, then a comma and the next key if anything is still open.
bool Reader::after_value(bool* done) {
  while (!levels_.empty()) {
    const bool is_object = levels_.back().is_object;
    const char c = peek();
    if (c == ',') {
      ++at_;
      return !is_object || key();
    }
    if (c != (is_object ? '}' : ']')) return unexpected(is_object ? "',' or '}'" : "',' or ']'");
    ++at_;
    place(close());
  }
  *done = true;
  return true;
}

bool Reader::open(char bracket) {
  if (static_cast<int>(levels_.size()) >= kMaxValueDepth)
    return fail(join("nesting depth above ", kMaxValueDepth));
  ++at_;
  Level level;
  level.is_object = bracket == '{';
  level.values = values_.size();
  level.keys = keys_.size();
  level.slot = values_.size();
  levels_.push_back(std::move(level));
  return true;
}

bool Reader::key() {
  Level& level = levels_.back();
  std::string_view name;
  if (peek() != '"') return unexpected("a key");
  if (!string(&name)) return false;
  if (peek() != ':') return unexpected("':'");
  ++at_;
  const size_t n = keys_.size() - level.keys;
  size_t found = n;
  if (n < kIndexFrom) {
    for (size_t i = 0; i < n && found == n; ++i)
      if (keys_[level.keys + i] == name) found = i;
  } else {
    if (!level.index) {
      level.index = std::make_unique<Index>();
      for (size_t i = 0; i < n; ++i) level.index->emplace(hashed(keys_[level.keys + i]), i);
    }
    found = level.index->try_emplace(hashed(name), n).first->second;
  }
  if (found == n) keys_.push_back(name);
  level.slot = level.values + found;
  return true;
}

void Reader::place(const Value& value) {
  if (levels_.empty() || !levels_.back().is_object || levels_.back().slot == values_.size()) {
    values_.push_back(value);
  } else {
    values_[levels_.back().slot] = value;
  }
}

Value Reader::close() {
  const Level& level = levels_.back();
  Value value;
  value.kind = level.is_object ? Value::Kind::object : Value::Kind::array;
  const size_t n = values_.size() - level.values;
  for (size_t i = level.values; i < values_.size(); ++i)
    value.depth = std::max(value.depth, values_[i].depth);
  ++value.depth;
  Value* const items = arena_.allocate<Value>(n);
  std::uninitialized_copy_n(values_.begin() + static_cast<std::ptrdiff_t>(level.values), n, items);
  value.items = {items, n};
  if (level.is_object) {
    auto* const names = arena_.allocate<std::string_view>(n);
    std::uninitialized_copy_n(keys_.begin() + static_cast<std::ptrdiff_t>(level.keys), n, names);
    value.keys = {names, n};
  }
  values_.resize(level.values);
  keys_.resize(level.keys);
  levels_.pop_back();
  return value;
}

bool Reader::scalar(char first, Value* value) {
  switch (first) {
    case '"':
      value->kind = Value::Kind::string;
      return string(&value->text);
    case 'n':
      return word("null");
    case 't':
    case 'f':
      value->kind = Value::Kind::boolean;
      value->flag = first == 't';
      return word(first == 't' ? "true" : "false");
    default:
      if (first == '-' || is_digit(first)) return number(value);
      return unexpected("a value");
  }
}

bool Reader::word(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) return unexpected("a value");
  at_ += word.size();
  return true;
}

bool Reader::number(Value* value) {
  const size_t begin = at_;
  const auto digits = [&] {
    const size_t first = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    return at_ - first;
  };
  const bool negative = text_[at_] == '-';
  if (negative) ++at_;
  const size_t whole = at_;
  if (digits() == 0) return unexpected("a digit");
  if (at_ - whole > 1 && text_[whole] == '0') return fail("a number with a leading zero");
  bool real = false;
  if (at_ < text_.size() && text_[at_] == '.') {
    real = true;
    ++at_;
    if (digits() == 0) return unexpected("a digit");
  }
  if (at_ < text_.size() && (text_[at_] | 0x20) == 'e') {
    real = true;
    ++at_;
    if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
    if (digits() == 0) return unexpected("a digit");
  }
  const std::string_view spelling = text_.substr(begin, at_ - begin);
  if (!real) {
    if (spelling.size() - (negative ? 1 : 0) > kMaxDigits)
      return fail(join("an integer of more than ", kMaxDigits, " digits"));
    value->kind = Value::Kind::integer;
    value->text = spelling == "-0" ? "0" : spelling;
    return true;
  }
  value->kind = Value::Kind::real;
  const auto result =
      absl::from_chars(spelling.data(), spelling.data() + spelling.size(), value->real);
  // What is too small for a double has become 0.
  if (result.ec == std::errc::result_out_of_range && std::fabs(value->real) > 1)
    return fail("a number too large");
  return true;
}

bool Reader::string(std::string_view* value) {
  const size_t begin = ++at_;
  at_ = plain_end(text_, begin);
  if (at_ < text_.size() && text_[at_] == '"') {
    *value = text_.substr(begin, at_ - begin);
    ++at_;
    return true;
  }
  // Its end is looked for first: what it says is never longer than how it is spelled.
  size_t end = at_;
  while (end < text_.size() && text_[end] != '"') {
    end += text_[end] == '\\' ? 2 : 1;
    if (end < text_.size()) end = plain_end(text_, end);
  }
  if (end >= text_.size()) return fail("a string without end");
  char* const first = arena_.allocate<char>(end - begin);
  char* to = first;
  for (size_t from = begin;;) {
    to = std::copy(text_.begin() + from, text_.begin() + at_, to);
    const char c = text_[at_];
    if (c == '"') break;
    if (c != '\\') return fail("a control character inside a string");
    if (!escape(&to)) return false;
    from = at_;
    at_ = plain_end(text_, from);
  }
  ++at_;
  *value = {first, static_cast<size_t>(to - first)};
  return true;
}

bool Reader::escape(char** to) {
  constexpr std::string_view kNames = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
  const char name = text_[at_ + 1];  // the string has an end, so this is inside
  if (const size_t i = kNames.find(name); i != std::string_view::npos) {
    *(*to)++ = kMeanings[i];
    at_ += 2;
    return true;
  }
  if (name != 'u') return fail("an unknown escape");
  at_ += 2;
  uint32_t unit = 0;
  if (!hex4(&unit)) return false;
  if (unit >= 0xDC00 && unit < 0xE000) return fail("a low surrogate without a high one");
  if (unit >= 0xD800 && unit < 0xDC00) {
    uint32_t low = 0;
    if (text_.substr(at_, 2) != "\\u") return fail("a high surrogate without a low one");
    at_ += 2;
    if (!hex4(&low)) return false;
    if (low < 0xDC00 || low > 0xDFFF) return fail("a high surrogate without a low one");
    unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
  }
  std::string encoded;
  utf8::append(unit, &encoded);
  *to = std::copy(encoded.begin(), encoded.end(), *to);
  return true;
}

bool Reader::hex4(uint32_t* unit) {
  *unit = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    const char letter = static_cast<char>(c | 0x20);
    if (!is_digit(c) && (letter < 'a' || letter > 'f'))
      return fail("a \\u escape without four digits");
    *unit = *unit << 4 | static_cast<uint32_t>(is_digit(c) ? c - '0' : letter - 'a' + 10);
  }
  return true;
}

}  // namespace

char* Arena::bytes(size_t n, size_t alignment) {
  constexpr size_t kBlock = 16384;
  const auto unaligned = reinterpret_cast<uintptr_t>(next_) % alignment;
  const size_t padding = unaligned == 0 ? 0 : alignment - unaligned;
  if (next_ == nullptr || n + padding > left_) {
    if (n > kBlock / 4) {  // on its own; the block goes on
      blocks_.push_back(std::make_unique_for_overwrite<char[]>(n));
      return blocks_.back().get();
    }
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(kBlock));
    next_ = blocks_.back().get();
    left_ = kBlock;
    return bytes(n, alignment);
  }
  char* const found = next_ + padding;
  next_ = found + n;
  left_ -= n + padding;
  return found;
}

Result<Document> parse_document(std::string_view text, const std::string& what) {
  Document document;
  MM2_RETURN_IF_ERROR(Reader(text, what, &document.arena_).read(&document.root_));
  return document;
}

}  // namespace mm2::chat
