#include "format/config_fields.h"

#include <cmath>
#include <limits>

namespace mm2 {

std::string shown(const Json& value) {
  constexpr size_t kShown = 100;
  if (value.is_object() || value.is_array()) {
    return join(value.is_object() ? "an object" : "an array", " of ", value.size());
  }
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= kShown ? text : text.substr(0, kShown) + "...";
}

const Json* ConfigFields::find(const char* field) const {
  const auto found = object_.find(field);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

Status ConfigFields::wrong(const char* field, const std::string& wanted) const {
  const Json* value = find(field);
  return error(Code::format, what_, ": ", field, " is ",
               value == nullptr ? std::string("missing") : shown(*value), ", ", wanted);
}

Status ConfigFields::integer(const char* field, int64_t low, int64_t high, int64_t& value,
                             bool& found) const {
  const Json* member = find(field);
  found = member != nullptr;
  if (!found) return {};
  const std::string wanted = join("must be a whole number from ", low, " to ", high);
  if (!member->is_number_integer()) return wrong(field, wanted);
  if (member->is_number_unsigned() &&
      member->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return wrong(field, wanted);
  }
  const int64_t got = member->get<int64_t>();
  if (got < low || got > high) return wrong(field, wanted);
  value = got;
  return {};
}

Status ConfigFields::required(const char* field, int64_t low, int64_t high, int32_t& value) const {
  int64_t got = 0;
  bool found = false;
  MM2_RETURN_IF_ERROR(integer(field, low, high, got, found));
  if (!found) return wrong(field, join("must be a whole number from ", low, " to ", high));
  value = static_cast<int32_t>(got);
  return {};
}

Status ConfigFields::number(const char* field, double low, double high, double& value,
                            bool& found) const {
  const Json* member = find(field);
  found = member != nullptr;
  if (!found) return {};
  const std::string wanted = join("must be a number from ", low, " to ", high);
  if (!member->is_number()) return wrong(field, wanted);
  const double got = member->get<double>();
  if (!(got >= low && got <= high)) return wrong(field, wanted);
  value = got;
  return {};
}

Status ConfigFields::boolean(const char* field, bool& value, bool& found) const {
  const Json* member = find(field);
  found = member != nullptr;
  if (!found) return {};
  if (!member->is_boolean()) return wrong(field, "must be true or false");
  value = member->get<bool>();
  return {};
}

Status ConfigFields::text(const char* field, std::string& value, bool& found) const {
  const Json* member = find(field);
  found = member != nullptr;
  if (!found) return {};
  if (!member->is_string()) return wrong(field, "must be a string");
  value = member->get<std::string>();
  return {};
}

}  // namespace mm2
