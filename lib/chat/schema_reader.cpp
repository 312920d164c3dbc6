#include "chat/schema_reader.h"

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"

namespace mm2::chat {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char folded = absl::ascii_tolower(static_cast<unsigned char>(c));
  return folded >= 'a' && folded <= 'f' ? folded - 'a' + 10 : -1;
}

// One step of a JSON pointer in a URI fragment: %41 and then ~0, ~1 undone (RFC 6901).
std::string decode_step(std::string_view step) {
  std::string bytes;
  for (size_t i = 0; i < step.size(); ++i) {
    if (step[i] == '%' && i + 2 < step.size() && hex_digit(step[i + 1]) >= 0 &&
        hex_digit(step[i + 2]) >= 0) {
      bytes += static_cast<char>(hex_digit(step[i + 1]) * 16 + hex_digit(step[i + 2]));
      i += 2;
    } else {
      bytes += step[i];
    }
  }
  std::string out;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const bool tilde = bytes[i] == '~' && i + 1 < bytes.size();
    if (tilde && (bytes[i + 1] == '0' || bytes[i + 1] == '1')) {
      out += bytes[++i] == '0' ? '~' : '/';
    } else {
      out += bytes[i];
    }
  }
  return out;
}

}  // namespace

bool SchemaReader::pay(uint64_t steps) {
  if (steps > budget_) {
    budget_ = 0;
    return false;
  }
  budget_ -= steps;
  return true;
}

const Value* SchemaReader::member(const Value& object, std::string_view name) {
  return pay(object.keys.size() + 1) ? object.find(name) : nullptr;
}

ToolSchema SchemaReader::read(const Value* parameters) {
  ToolSchema out;
  if (parameters == nullptr) return out;
  const Value& root = *parameters;
  const Value* shape = &root;
  if (const Value* reference = member(root, "$ref"); reference && reference->is_string()) {
    if (const Value* target = resolve(root, reference->text)) shape = target;
  }
  if (const Value* properties = member(*shape, "properties")) {
    for (size_t i = 0; i < properties->keys.size(); ++i) {
      out.parameters.try_emplace(std::string(properties->keys[i]),
                                 type_of(root, properties->items[i]));
    }
  }
  if (const Value* additional = member(*shape, "additionalProperties")) {
    out.additional = type_of(root, *additional);
  }
  return out;
}

ParameterType SchemaReader::type_of(const Value& root, const Value& schema) {
  ParameterType type;
  absl::flat_hash_set<const Value*> seen;
  std::vector<const Value*> todo = {&schema};
  while (!todo.empty()) {
    const Value* at = todo.back();
    todo.pop_back();
    if (!at->is_object() || !seen.insert(at).second || !pay(at->keys.size() + 1)) continue;
    const Value* members = at->find("enum");
    if (members != nullptr && !pay(members->items.size())) continue;
    add_own(*at, type);
    if (const Value* reference = at->find("$ref"); reference && reference->is_string()) {
      if (const Value* target = resolve(root, reference->text)) todo.push_back(target);
    }
    for (const char* name : {"anyOf", "oneOf", "allOf"}) {
      const Value* list = at->find(name);
      if (list == nullptr || !list->is_array() || !pay(list->items.size())) continue;
      for (const Value& part : list->items) todo.push_back(&part);
    }
  }
  return type;
}

void SchemaReader::add_member(const Value& member, ParameterType& type) const {
  if (member.is_string()) type.exact_members.try_emplace(std::string(member.text), &member);
  std::string spelled, printed;
  append_json(spelled, member);
  append_str(printed, member);
  type.members.try_emplace(std::move(spelled), &member);
  if (!member.is_string()) type.members.try_emplace(std::move(printed), &member);
}

void SchemaReader::add_own(const Value& schema, ParameterType& type) const {
  ParameterType own;
  const Value* given = schema.find("type");
  if (given != nullptr && given->is_string()) add_name(given->text, own);
  if (given != nullptr && given->is_array()) {
    for (const Value& name : given->items) {
      if (name.is_string()) add_name(name.text, own);
    }
  }
  if (own.untyped()) {
    own.container =
        schema.find("properties") || schema.find("additionalProperties") || schema.find("items");
  }
  const bool typed = !own.untyped();
  if (const Value* members = schema.find("enum"); members != nullptr && members->is_array()) {
    for (const Value& member : members->items) {
      if (member.is_null()) own.null = true;
      if (!typed) add_member(member, type);
    }
  }
  const Value* nullable = schema.find("nullable");
  if (nullable != nullptr && nullable->kind == Value::Kind::boolean && nullable->flag) {
    own.null = true;
  }
  type.null |= own.null;
  type.integer |= own.integer;
  type.number |= own.number;
  type.boolean |= own.boolean;
  type.container |= own.container;
  type.string |= own.string;
}

void SchemaReader::add_name(std::string_view name, ParameterType& type) const {
  if (name.size() > 8) return;
  std::string word(name);
  absl::AsciiStrToLower(&word);
  if (word == "null") type.null = true;
  if (word == "integer" || word == "int") type.integer = true;
  if (word == "number" || word == "float") type.number = true;
  if (word == "boolean" || word == "bool") type.boolean = true;
  if (word == "string" || word == "str" || word == "text") type.string = true;
  if (word == "object" || word == "dict" || word == "array" || word == "list") {
    type.container = true;
  }
}

const Value* SchemaReader::resolve(const Value& root, std::string_view reference) {
  if (reference == "#") return &root;
  if (reference.substr(0, 2) != "#/") return nullptr;
  reference.remove_prefix(2);
  const Value* at = &root;
  while (at != nullptr) {
    const size_t end = reference.find('/');
    const std::string step = decode_step(reference.substr(0, end));
    if (at->is_array()) {
      uint64_t index = 0;
      const bool inside = absl::SimpleAtoi(step, &index) && index < at->items.size();
      at = inside && pay(1) ? &at->items[index] : nullptr;
    } else {
      at = member(*at, step);
    }
    if (end == std::string_view::npos) return at;
    reference.remove_prefix(end + 1);
  }
  return nullptr;
}

}  // namespace mm2::chat
