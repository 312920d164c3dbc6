#include "tools/option_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace mm2 {

const Json* OptionReader::find(std::string_view name) const {
  if (!options_.is_object()) return nullptr;
  const auto found = options_.find(name);
  return found == options_.end() || found->is_null() ? nullptr : &*found;
}

Status OptionReader::wrong(std::string_view name, std::string_view wanted) const {
  return error(Code::invalid_argument, verb_, ": option ", name, ": ", wanted);
}

Status OptionReader::check_names(std::span<const std::string_view> allowed) const {
  if (!options_.is_object()) {
    return error(Code::invalid_argument, verb_, ": the options must be a JSON object");
  }
  for (const auto& [name, value] : options_.items()) {
    if (std::find(allowed.begin(), allowed.end(), std::string_view(name)) == allowed.end()) {
      return error(Code::invalid_argument, verb_, ": unknown option ", name.substr(0, 100));
    }
  }
  return {};
}

Status OptionReader::boolean(std::string_view name, bool& to) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_boolean()) return wrong(name, "must be true or false");
  to = value->get<bool>();
  return {};
}

Status OptionReader::text(std::string_view name, std::string& to) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_string()) return wrong(name, "must be a string");
  to = value->get<std::string>();
  return {};
}

Status OptionReader::texts(std::string_view name, std::vector<std::string>& to) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  std::vector<std::string> read;
  if (value->is_string()) {
    read.push_back(value->get<std::string>());
  } else if (value->is_array()) {
    for (const Json& one : *value) {
      if (!one.is_string()) return wrong(name, "must be a string or a list of strings");
      read.push_back(one.get<std::string>());
    }
  } else {
    return wrong(name, "must be a string or a list of strings");
  }
  to = std::move(read);
  return {};
}

Status OptionReader::integer(std::string_view name, int64_t low, int64_t high, int64_t& to) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  const bool fits = value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX});
  if (!fits || value->get<int64_t>() < low || value->get<int64_t>() > high) {
    return wrong(name, join("must be a whole number from ", low, " to ", high));
  }
  to = value->get<int64_t>();
  return {};
}

Status OptionReader::integer(std::string_view name, int64_t low, int64_t high, int32_t& to) const {
  int64_t wide = to;
  MM2_RETURN_IF_ERROR(integer(name, low, std::min<int64_t>(high, INT32_MAX), wide));
  to = static_cast<int32_t>(wide);
  return {};
}

Status OptionReader::number(std::string_view name, double low, double high, double& to) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_number() || !(value->get<double>() >= low && value->get<double>() <= high)) {
    return wrong(name, join("must be a number from ", low, " to ", high));
  }
  to = value->get<double>();
  return {};
}

Status OptionReader::bytes(std::string_view name, uint64_t& to) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  std::optional<uint64_t> read;
  if (value->is_number_unsigned()) read = value->get<uint64_t>();
  if (value->is_string()) read = parse_bytes(value->get_ref<const std::string&>());
  if (!read) return wrong(name, "must be a number of bytes, like 1500000000 or \"1.5G\"");
  to = *read;
  return {};
}

Status OptionReader::word(std::string_view name, std::span<const std::string_view> words,
                          std::string& to) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (value->is_string()) {
    for (const std::string_view one : words) {
      if (value->get_ref<const std::string&>() != one) continue;
      to = one;
      return {};
    }
  }
  std::string list;
  for (const std::string_view one : words) list += join(list.empty() ? "" : ", ", one);
  return wrong(name, join("must be one of ", list));
}

std::optional<uint64_t> parse_bytes(std::string_view text) {
  double value = 0;
  const auto [end, problem] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (problem != std::errc() || !(value >= 0)) return std::nullopt;
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  double scale = 0;
  if (unit.empty() || unit == "B") scale = 1;
  if (unit == "K" || unit == "KiB") scale = 1 << 10;
  if (unit == "M" || unit == "MiB") scale = 1 << 20;
  if (unit == "G" || unit == "GiB") scale = 1 << 30;
  if (unit == "T" || unit == "TiB") scale = double{1 << 30} * 1024;
  if (scale == 0 || value * scale >= 9e18) return std::nullopt;
  return static_cast<uint64_t>(std::llround(value * scale));
}

}  // namespace mm2
