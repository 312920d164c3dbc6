// Tool definitions and a value: NUL stands between the two. The first byte decides whether the
// definitions are JSON text as it is or made from decisions.
#include "base/json.h"
#include "chat/arguments.h"
#include "chat/json_text.h"
#include "fuzz/input.h"
#include "fuzz/property.h"

using namespace mm2;
using namespace mm2::chat;
using fuzz::require;

namespace {

constexpr const char* kKeys[] = {"name",
                                 "type",
                                 "enum",
                                 "anyOf",
                                 "oneOf",
                                 "allOf",
                                 "$ref",
                                 "items",
                                 "nullable",
                                 "properties",
                                 "additionalProperties",
                                 "$defs",
                                 "const",
                                 "function",
                                 "parameters",
                                 "p"};
constexpr const char* kStrings[] = {"string",    "integer", "number", "boolean",   "object",
                                    "array",     "null",    "int",    "dict",      "STR",
                                    "f",         "p",       "#",      "#/$defs/p", "#/properties/p",
                                    "#/x/%41~1", "nothing"};

std::string made_tools(fuzz::Input& in) {
  const fuzz::Words words{kKeys, kStrings};
  std::string out = R"([{"name": "f", "parameters": {"properties": {"p": )";
  fuzz::append_json(in, words, 5, out);
  out += R"(}, "$defs": {"p": )";
  fuzz::append_json(in, words, 3, out);
  out += "}, \"additionalProperties\": ";
  fuzz::append_json(in, words, 3, out);
  return out + "}}]";
}

void check(const ParameterType& type, std::string_view value) {
  std::string json = "as before";
  const bool converted = convert_value(type, value, json);
  require(!(converted && type.only_string()), "a string stays as it is");
  if (converted) {
    JsonLimits limits;
    limits.max_depth = 1000;
    limits.duplicate_keys = true;
    // An integer too long for a double keeps all its digits; the checking reader refuses those.
    require(json.size() > 300 || parse_json(json, "value", limits).ok(),
            "a converted value is JSON", json);
  } else {
    require(json == "as before", "a value that is not converted leaves no trace");
  }
  // The watch gives a value up only when it is a string for certain.
  if (!type.string_or_scalar()) return;
  ScalarWatch watch(type);
  for (const char c : value) {
    if (watch.feed(c)) continue;
    require(!converted, "what the watch gave up is a string", value);
    break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input in(data, size);
  const bool made = in.byte() & 1;
  std::string tools;
  std::string_view value;
  if (made) {
    value = in.take(in.below(40));
    tools = made_tools(in);
  } else {
    tools = in.line();
    value = in.rest();
  }
  const auto schemas = ToolSchemas::parse(tools);
  if (!schemas.ok()) {
    fuzz::require_told(schemas.status(), {Code::format, Code::invalid_argument});
    return 0;
  }
  const ToolSchema* tool = (*schemas)->find("f");
  if (tool == nullptr) return 0;
  check(tool->type_of("p"), value);
  check(tool->type_of("elsewhere"), value);
  for (const char* usual : {"null", "1", "-2.50", "true", "x", "[1]", " {} ", ""}) {
    check(tool->type_of("p"), usual);
  }
  return 0;
}
