#include "quant/quant_fields.h"

#include "absl/strings/numbers.h"

namespace mm2 {
namespace {

constexpr int64_t kMostGroup = 1 << 20;

bool whole_number(const Json& value, int64_t low, int64_t high, int32_t& to) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT32_MAX}) return false;
  const int64_t number = value.get<int64_t>();
  if (number < low || number > high) return false;
  to = static_cast<int32_t>(number);
  return true;
}

bool block_of_text(const std::string& text, int32_t& rows, int32_t& cols) {
  const size_t cross = text.find('x');
  return cross != text.npos &&
         absl::SimpleAtoi(as_piece(std::string_view(text).substr(0, cross)), &rows) &&
         absl::SimpleAtoi(as_piece(std::string_view(text).substr(cross + 1)), &cols) && rows >= 1 &&
         rows <= kMostGroup && cols >= 1 && cols <= kMostGroup;
}

}  // namespace

std::string spelled(const Json& value) {
  return value.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, kShown);
}

const Json* QuantFields::find(const char* field) const {
  const auto found = object.find(field);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Status QuantFields::text(const char* field, std::string& to) const {
  const Json* value = find(field);
  if (value == nullptr) return {};
  if (!value->is_string()) {
    return error(Code::format, what, ": ", field, " is ", spelled(*value), ", must be a string");
  }
  to = value->get<std::string>();
  return {};
}

Status QuantFields::boolean(const char* field, std::optional<bool>& to) const {
  const Json* value = find(field);
  if (value == nullptr) return {};
  if (!value->is_boolean()) {
    return error(Code::format, what, ": ", field, " is ", spelled(*value),
                 ", must be true or false");
  }
  to = value->get<bool>();
  return {};
}

Status read_words(const QuantFields& fields, const char* bits_field, QuantWords& words) {
  if (const Json* bits = fields.find(bits_field);
      bits != nullptr && !whole_number(*bits, 1, 16, words.bits)) {
    return error(Code::format, fields.what, ": ", bits_field, " is ", spelled(*bits),
                 ", must be from 1 to 16");
  }
  if (const Json* group = fields.find("group_size"); group != nullptr) {
    int32_t size = 0;
    if (!whole_number(*group, -1, kMostGroup, size) || size == 0) {
      return error(Code::format, fields.what, ": group_size is ", spelled(*group),
                   ", must be above 0, or -1 for a whole row");
    }
    words.group_size = size;
  }
  MM2_RETURN_IF_ERROR(fields.boolean("sym", words.symmetric));
  return fields.boolean("desc_act", words.desc_act);
}

Status read_blocks(const QuantFields& fields, const char* field, QuantWords& words) {
  const Json* block = fields.find(field);
  if (block == nullptr) return {};
  if (block->is_string() &&
      block_of_text(block->get<std::string>(), words.block_rows, words.block_cols)) {
    return {};
  }
  if (!block->is_array() || block->size() != 2 ||
      !whole_number((*block)[0], 1, kMostGroup, words.block_rows) ||
      !whole_number((*block)[1], 1, kMostGroup, words.block_cols)) {
    return error(Code::format, fields.what, ": ", field, " is ", spelled(*block),
                 ", must be two numbers above 0");
  }
  return {};
}

}  // namespace mm2
