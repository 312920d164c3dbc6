#include "text/stop_ids.h"

#include "base/json.h"

namespace mm2 {
namespace {

// tokenizer_config.json may hold a template and tens of thousands of added tokens.
constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;

// The named member of a JSON file; null if there is no such file or member.
Result<Json> read_member(const std::string& name, const char* member, const Source& source) {
  Result<std::string> text = read_all(source, name, kMaxFileBytes);
  if (!text.ok() && text.status().code() == Code::not_found) return Json();
  if (!text.ok()) return text.status();
  MM2_ASSIGN_OR_RETURN(const Json document, parse_json(*text, name));
  if (!document.is_object()) return error(Code::format, name, ": not an object");
  const auto found = document.find(member);
  return found == document.end() ? Json() : *found;
}

}  // namespace

Result<std::vector<int32_t>> read_stop_ids(const std::string& folder, const Source& source,
                                           const FindToken& find) {
  std::vector<int32_t> stop_ids;
  const std::string generation = folder + "/generation_config.json";
  MM2_ASSIGN_OR_RETURN(const Json given, read_member(generation, "eos_token_id", source));
  const Json ids = given.is_array()  ? given
                   : given.is_null() ? Json::array()
                                     : Json::array({given});
  for (const Json& id : ids) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX)
      return error(Code::format, generation, ": eos_token_id is not an id or a list of ids");
    stop_ids.push_back(static_cast<int32_t>(id.get<uint64_t>()));
  }
  const std::string config = folder + "/tokenizer_config.json";
  MM2_ASSIGN_OR_RETURN(Json token, read_member(config, "eos_token", source));
  if (token.is_object() && token.contains("content")) token = Json(token["content"]);
  if (token.is_null()) return stop_ids;
  if (!token.is_string()) return error(Code::format, config, ": eos_token is not a string");
  const auto id = find(token.get<std::string>());
  if (!id) {
    return error(Code::format, config, ": eos_token \"", token.get<std::string>(),
                 "\" is not a token");
  }
  stop_ids.push_back(*id);
  return stop_ids;
}

}  // namespace mm2
