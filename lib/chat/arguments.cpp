#include "chat/arguments.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "chat/json_text.h"
#include "chat/schema_reader.h"

namespace mm2::chat {
namespace {

constexpr uint32_t kMaxBlanks = 65536;  // around a value that is not a string

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::string lower(std::string_view text) {
  std::string out(text);
  absl::AsciiStrToLower(&out);
  return out;
}

size_t count_digits(std::string_view text, size_t at) {
  size_t n = 0;
  while (at + n < text.size() && is_digit(text[at + n])) ++n;
  return n;
}

// The sign and whole part as JSON wants them, without leading zeros and with one digit at least.
std::string whole_part(bool negative, std::string_view digits) {
  while (!digits.empty() && digits[0] == '0') digits.remove_prefix(1);
  std::string out(negative ? 1 : 0, '-');
  if (digits.empty()) out.push_back('0');
  out.append(digits);
  return out;
}

// T3: an optional sign and decimal digits, of any size.
bool to_integer(std::string_view text, std::string& json) {
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty() || count_digits(text, 0) != text.size()) return false;
  const bool zero = text.find_first_not_of('0') == std::string_view::npos;
  json = whole_part(negative && !zero, text);
  return true;
}

// T4: decimal or exponent form whose double is finite. The digits stay as they are written.
bool to_number(std::string_view text, std::string& json) {
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  const size_t n_whole = count_digits(text, 0);
  size_t at = n_whole;
  std::string_view fraction;
  const bool point = at < text.size() && text[at] == '.';
  if (point) {
    fraction = text.substr(at + 1, count_digits(text, at + 1));
    at += 1 + fraction.size();
  }
  if (n_whole + fraction.size() == 0) return false;
  std::string out = whole_part(negative, text.substr(0, n_whole));
  if (point) {
    out.push_back('.');
    out.append(fraction.empty() ? std::string_view("0") : fraction);
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    const size_t mark = at++;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    const size_t n = count_digits(text, at);
    if (n == 0) return false;
    at += n;
    out += text.substr(mark, at - mark);
  }
  double value = 0;
  if (at != text.size() || !absl::SimpleAtod(out, &value) || !std::isfinite(value)) return false;
  json = std::move(out);
  return true;
}

// T5.
bool to_boolean(std::string_view text, std::string& json) {
  if (text.size() > 5) return false;
  const std::string word = lower(text);
  if (word != "true" && word != "false" && word != "1" && word != "0") return false;
  json = word == "true" || word == "1" ? "true" : "false";
  return true;
}

// T8: the member whose string or JSON form equals the value.
bool to_member(const ParameterType& type, std::string_view text, std::string& json) {
  auto found = type.exact_members.find(std::string(text));
  if (found == type.exact_members.end()) {
    found = type.members.find(std::string(trim(text)));
    if (found == type.members.end()) return false;
  }
  json.clear();
  append_json(json, *found->second);
  return true;
}

}  // namespace

bool ParameterType::takes_null() const {
  if (null) return true;
  if (untyped()) return true;
  return !string && (integer || number || boolean || container);
}

bool ParameterType::only_string() const {
  return string && !(null || integer || number || boolean || container) && members.empty();
}

const ParameterType& ToolSchema::type_of(const std::string& name) const {
  const auto found = parameters.find(name);
  return found == parameters.end() ? additional : found->second;
}

const ToolSchema* ToolSchemas::find(const std::string& name) const {
  const auto found = tools_.find(name);
  return found == tools_.end() ? nullptr : &found->second;
}

Result<std::shared_ptr<const ToolSchemas>> ToolSchemas::parse(std::string_view tools_json) {
  auto out = std::make_shared<ToolSchemas>();
  if (trim(tools_json).empty()) return std::shared_ptr<const ToolSchemas>(std::move(out));
  out->text_ = tools_json;
  MM2_ASSIGN_OR_RETURN(out->document_, parse_document(out->text_, "tools"));
  if (!out->document_->is_array() && !out->document_->is_null()) {
    return error(Code::invalid_argument, "tools: an array of tool definitions is needed");
  }
  SchemaReader reader;
  for (const Value& tool : out->document_->items) {
    const Value* inner = tool.find("function");
    if (inner == nullptr || !inner->is_object()) inner = &tool;
    const Value* name = inner->find("name");
    if (name == nullptr || !name->is_string()) continue;
    out->tools_.try_emplace(std::string(name->text), reader.read(inner->find("parameters")));
  }
  return std::shared_ptr<const ToolSchemas>(std::move(out));
}

bool convert_value(const ParameterType& type, std::string_view text, std::string& json) {
  const std::string_view bare = trim(text);
  if (type.takes_null() && bare.size() == 4 && lower(bare) == "null") {
    json = "null";
    return true;
  }
  if (type.integer && to_integer(bare, json)) return true;
  if (type.number && to_number(bare, json)) return true;
  if (type.boolean && to_boolean(bare, json)) return true;
  if (type.container && is_json(bare)) {
    json = bare;
    return true;
  }
  return to_member(type, text, json);
}

ScalarWatch::ScalarWatch(const ParameterType& type)
    : null_(type.takes_null()), boolean_(type.boolean), number_(type.integer || type.number) {}

bool ScalarWatch::feed(char c) {
  if (is_space(c)) {
    if (++blanks_ > kMaxBlanks) return false;
    ended_ = !word_.empty();
    return true;
  }
  blanks_ = 0;
  return !ended_ && word_goes_on(c);
}

bool ScalarWatch::word_goes_on(char c) {
  const char folded = absl::ascii_tolower(static_cast<unsigned char>(c));
  const auto begins = [&](std::string_view whole) {
    return word_.size() < whole.size() && whole.substr(0, word_.size()) == word_ &&
           whole[word_.size()] == folded;
  };
  null_ = null_ && begins("null");
  boolean_ = boolean_ && (begins("true") || begins("false") || begins("1") || begins("0"));
  number_ = number_ && std::string_view("0123456789+-.e").find(folded) != std::string_view::npos;
  if (word_.size() < 8) word_ += folded;
  return null_ || boolean_ || number_;
}

}  // namespace mm2::chat
