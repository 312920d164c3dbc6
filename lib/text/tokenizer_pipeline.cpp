#include "text/tokenizer_pipeline.h"

#include "base/json.h"
#include "text/splitter.h"
#include "text/vocabulary.h"

namespace mm2 {
namespace {

// A token longer than this would make the search for added tokens slow.
constexpr size_t kMaxAddedTokenBytes = 4096;

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

Status unsupported(const std::string& field, const Json& value, std::string_view known) {
  return error(Code::unsupported, field, ": ", shown(value), " is not supported; known: ", known);
}

// Missing members count as null. A copy: these objects are small, and a null to refer to would be
// a static.
Json member(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? Json() : *found;
}

bool is_type(const Json& value, const char* type) {
  return value.is_object() && member(value, "type") == type;
}

Status read_normalizer(const Json& value, const std::string& field, bool* normalizes) {
  if (value.is_null()) return {};
  if (is_type(value, "NFC")) {
    *normalizes = true;
    return {};
  }
  const Json& steps = member(value, "normalizers");
  if (!is_type(value, "Sequence") || !steps.is_array())
    return unsupported(field, value, "null, NFC, a Sequence of NFC");
  for (const Json& step : steps) {
    if (!is_type(step, "NFC")) return unsupported(field + ".normalizers", step, "NFC");
    *normalizes = true;
  }
  return {};
}

Status check_split(const Json& split, const std::string& field) {
  if (!is_type(split, "Split")) return unsupported(field, split, "Split");
  const Json& pattern = member(split, "pattern");
  if (!pattern.is_object() || member(pattern, "Regex") != std::string(kM2SplitPattern))
    return unsupported(field + ".pattern", pattern, "the split pattern of the M2 family");
  const Json& behavior = member(split, "behavior");
  // Every character belongs to a match: to keep the matches is to keep the pieces.
  const bool keeps_matches =
      behavior == "Isolated" || (behavior == "Removed" && member(split, "invert") == true);
  if (!keeps_matches)
    return unsupported(field + ".behavior", behavior, "Isolated, Removed with invert true");
  return {};
}

Status check_pre_tokenizer(const Json& value, const std::string& field) {
  const Json& steps = is_type(value, "Sequence") ? member(value, "pretokenizers") : Json();
  if (!steps.is_array() || steps.size() != 2)
    return unsupported(field, value, "Sequence of Split and ByteLevel");
  MM2_RETURN_IF_ERROR(check_split(steps[0], field + ".pretokenizers[0]"));
  const Json& bytes = steps[1];
  const std::string bytes_field = field + ".pretokenizers[1]";
  if (!is_type(bytes, "ByteLevel")) return unsupported(bytes_field, bytes, "ByteLevel");
  for (const char* flag : {"add_prefix_space", "use_regex"}) {
    const Json& given = member(bytes, flag);  // both are true when missing
    if (given != false) return unsupported(join(bytes_field, ".", flag), given, "false");
  }
  return {};
}

Status check_model_field(const std::string& name, const Json& value, const std::string& what,
                         TokenizerPipeline* pipeline) {
  const std::string field = what + ": model." + name;
  if (name == "type" && value != "BPE") return unsupported(field, value, "BPE");
  if (name == "dropout" && !value.is_null() && value != 0.0)
    return unsupported(field, value, "null");
  const bool is_affix = name == "continuing_subword_prefix" || name == "end_of_word_suffix";
  if (is_affix && !value.is_null() && value != "") return unsupported(field, value, "null, \"\"");
  if (name == "ignore_merges") {
    if (!value.is_boolean()) return error(Code::format, field, ": not true or false");
    pipeline->ignore_merges = value.get<bool>();
  }
  return {};
}

Status read_flag(const Json& token, const char* name, const std::string& field, bool* flag) {
  const Json& value = member(token, name);
  if (value.is_null()) return {};
  if (!value.is_boolean()) return error(Code::format, field, ".", name, ": not true or false");
  *flag = value.get<bool>();
  return {};
}

Status read_added_token(const Json& value, const std::string& field, AddedToken* token) {
  if (!value.is_object()) return error(Code::format, field, ": not an object");
  const Json& id = member(value, "id");
  if (!id.is_number_unsigned()) return error(Code::format, field, ".id: not an integer >= 0");
  if (id.get<uint64_t>() > kMaxTokenId) {
    return error(Code::format, field, ".id: ", id.get<uint64_t>(), ", at most ", kMaxTokenId,
                 " is possible");
  }
  const Json& content = member(value, "content");
  if (!content.is_string()) return error(Code::format, field, ".content: not a string");
  token->id = static_cast<int32_t>(id.get<uint64_t>());
  token->content = content.get<std::string>();
  if (token->content.size() > kMaxAddedTokenBytes) {
    return error(Code::unsupported, field, ".content: ", token->content.size(), " bytes, at most ",
                 kMaxAddedTokenBytes, " are possible");
  }
  MM2_RETURN_IF_ERROR(read_flag(value, "special", field, &token->special));
  token->normalized = !token->special;
  MM2_RETURN_IF_ERROR(read_flag(value, "normalized", field, &token->normalized));
  MM2_RETURN_IF_ERROR(read_flag(value, "single_word", field, &token->single_word));
  MM2_RETURN_IF_ERROR(read_flag(value, "lstrip", field, &token->lstrip));
  return read_flag(value, "rstrip", field, &token->rstrip);
}

Status read_added_tokens(const Json& value, const std::string& field,
                         std::vector<AddedToken>* added) {
  if (value.is_null()) return {};
  if (!value.is_array()) return error(Code::format, field, ": not an array");
  for (const Json& item : value) {
    added->emplace_back();
    const std::string item_field = join(field, "[", added->size() - 1, "]");
    MM2_RETURN_IF_ERROR(read_added_token(item, item_field, &added->back()));
  }
  return {};
}

Status read_document_field(const std::string& name, const Json& value, const std::string& what,
                           TokenizerPipeline* pipeline) {
  const std::string field = what + ": " + name;
  if (name == "normalizer") return read_normalizer(value, field, &pipeline->normalizes);
  if (name == "pre_tokenizer") return check_pre_tokenizer(value, field);
  if (name == "added_tokens") return read_added_tokens(value, field, &pipeline->added);
  if (name == "decoder" && !is_type(value, "ByteLevel"))
    return unsupported(field, value, "ByteLevel");
  if (name == "post_processor" && !value.is_null() && !is_type(value, "ByteLevel"))
    return unsupported(field, value, "null, ByteLevel");
  if ((name == "truncation" || name == "padding") && !value.is_null())
    pipeline->ignored.push_back(name);
  return {};
}

bool has_member(const JsonMembers& members, std::string_view name) {
  for (const auto& [key, value] : members)
    if (key == name) return true;
  return false;
}

}  // namespace

Result<TokenizerPipeline> read_tokenizer_pipeline(const JsonMembers& document,
                                                  const JsonMembers& model,
                                                  const std::string& what) {
  TokenizerPipeline pipeline;
  for (const char* name : {"pre_tokenizer", "decoder"})
    if (!has_member(document, name)) return error(Code::format, what, ": ", name, " is missing");
  for (const auto& [name, text] : document) {
    if (name == "model") continue;
    MM2_ASSIGN_OR_RETURN(const Json value, parse_json(text, what + ": " + name));
    MM2_RETURN_IF_ERROR(read_document_field(name, value, what, &pipeline));
  }
  for (const auto& [name, text] : model) {
    if (name == "vocab" || name == "merges") continue;
    MM2_ASSIGN_OR_RETURN(const Json value, parse_json(text, what + ": model." + name));
    MM2_RETURN_IF_ERROR(check_model_field(name, value, what, &pipeline));
  }
  return pipeline;
}

}  // namespace mm2
