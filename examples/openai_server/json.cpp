#include "json.h"

#include <cmath>

namespace server {
namespace {

constexpr int kMaxDepth = 64;
// Members of an object are kept in order and looked up one after the other.
constexpr size_t kMaxMembers = 1024;

/// Depth and width, before anything is built. Knows no more of JSON than strings and brackets: what
/// is wrong otherwise the parser will find.
void check_size(std::string_view text, const std::string& what) {
  std::array<size_t, kMaxDepth + 1> members{};
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) {
        throw BadRequest(what + " is nested deeper than " + std::to_string(kMaxDepth) + " levels");
      }
      members[static_cast<size_t>(depth)] = 0;
    } else if (c == '}' || c == ']') {
      if (depth > 0) --depth;
    } else if (c == ':' && ++members[static_cast<size_t>(depth)] > kMaxMembers) {
      throw BadRequest(what + " holds an object with more than " + std::to_string(kMaxMembers) +
                       " members");
    }
  }
}

Json parse(std::string_view text, const std::string& what) {
  check_size(text, what);
  try {
    return Json::parse(text);
  } catch (const Json::exception& error) {
    // nlohmann's words begin with its own number of the error: "[json.exception....101] parse ..."
    const std::string words = error.what();
    const size_t end = words.find("] ");
    throw BadRequest(what + " is not JSON: " +
                     (end == std::string::npos ? words : words.substr(end + 2)).substr(0, 300));
  }
}

std::string number_text(double value) {
  return Json(value).dump();
}

}  // namespace

Json parse_body(std::string_view text) {
  if (text.empty()) throw BadRequest("the body is empty; a JSON object is wanted");
  Json body = parse(text, "the body");
  if (!body.is_object()) throw BadRequest("the body is " + kind_of(body) + ", not an object");
  return body;
}

Json parse_inner(std::string_view text, const std::string& where) {
  return parse(text, where);
}

std::string to_text(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string quote(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    // Anything that needs care takes the long way.
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || (c & 0x80) != 0) {
      return to_text(Json(std::string(text)));
    }
    quoted += c;
  }
  return quoted += '"';
}

std::string kind_of(const Json& value) {
  if (value.is_string()) return "a string";
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  if (value.is_number()) return to_text(value);
  if (value.is_array()) return "an array";
  if (value.is_object()) return "an object";
  return "null";
}

Members::Members(const Json& object, std::string where)
    : object_(object), where_(std::move(where)) {
  if (!object.is_object()) {
    throw BadRequest(where_ + " is " + kind_of(object) + ", not an object", where_);
  }
}

std::string Members::path(const std::string& name) const {
  return where_.empty() ? name : where_ + "." + name;
}

void Members::wrong(const std::string& name, const std::string& wanted, const Json& found) {
  throw BadRequest(path(name) + " is " + kind_of(found) + ", but must be " + wanted, path(name));
}

const Json* Members::find(const std::string& name) {
  taken_.insert(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const Json& Members::required(const std::string& name) {
  const Json* found = find(name);
  if (found == nullptr) throw BadRequest(path(name) + " is missing", path(name));
  return *found;
}

std::optional<int64_t> Members::integer(const std::string& name, int64_t least, int64_t most) {
  const Json* found = find(name);
  if (found == nullptr) return std::nullopt;
  const std::string wanted =
      "an integer from " + std::to_string(least) + " to " + std::to_string(most);
  const bool too_large = found->is_number_unsigned() && found->get<uint64_t>() > INT64_MAX;
  if (!found->is_number_integer() || too_large) wrong(name, wanted, *found);
  const auto value = found->get<int64_t>();
  if (value < least || value > most) wrong(name, wanted, *found);
  return value;
}

std::optional<double> Members::number(const std::string& name, double least, double most) {
  const Json* found = find(name);
  if (found == nullptr) return std::nullopt;
  const std::string wanted = "a number from " + number_text(least) + " to " + number_text(most);
  if (!found->is_number()) wrong(name, wanted, *found);
  const auto value = found->get<double>();
  if (!(value >= least && value <= most)) wrong(name, wanted, *found);
  return value;
}

std::optional<bool> Members::flag(const std::string& name) {
  const Json* found = find(name);
  if (found == nullptr) return std::nullopt;
  if (!found->is_boolean()) wrong(name, "true or false", *found);
  return found->get<bool>();
}

std::optional<std::string> Members::text(const std::string& name) {
  const Json* found = find(name);
  if (found == nullptr) return std::nullopt;
  if (!found->is_string()) wrong(name, "a string", *found);
  return found->get<std::string>();
}

std::string Members::required_text(const std::string& name) {
  required(name);
  return *text(name);
}

const Json* Members::array(const std::string& name, size_t most) {
  const Json* found = find(name);
  if (found == nullptr) return nullptr;
  if (!found->is_array()) wrong(name, "an array", *found);
  if (found->size() > most) {
    throw BadRequest(path(name) + " has " + std::to_string(found->size()) + " entries; at most " +
                         std::to_string(most) + " are taken",
                     path(name));
  }
  return found;
}

const Json* Members::object(const std::string& name) {
  const Json* found = find(name);
  if (found != nullptr && !found->is_object()) wrong(name, "an object", *found);
  return found;
}

void Members::ignore(std::initializer_list<const char*> names) {
  taken_.insert(names.begin(), names.end());
}

void Members::refuse(const std::string& name, const std::string& why) {
  if (find(name) != nullptr) throw BadRequest(path(name) + " " + why, path(name));
}

void Members::finish() {
  for (const auto& [name, value] : object_.items()) {
    if (taken_.count(name) == 0 && !value.is_null()) {
      throw BadRequest("there is no member " + path(name.substr(0, 80)) + " here",
                       path(name.substr(0, 80)));
    }
  }
}

}  // namespace server
