#include "format/generation_config.h"

#include <limits>

#include "base/json.h"
#include "format/checkpoint.h"
#include "format/config_fields.h"

namespace mm2 {
namespace {

constexpr uint64_t kMaxFile = 1'000'000;
constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max();

Status read_number(const ConfigFields& fields, const char* name, double low, double high,
                   std::optional<double>& to) {
  double value = 0;
  bool found = false;
  MM2_RETURN_IF_ERROR(fields.number(name, low, high, value, found));
  if (found) to = value;
  return {};
}

Status read_integer(const ConfigFields& fields, const char* name, std::optional<int32_t>& to) {
  int64_t value = 0;
  bool found = false;
  MM2_RETURN_IF_ERROR(fields.integer(name, 0, kMaxId, value, found));
  if (found) to = static_cast<int32_t>(value);
  return {};
}

Status read_end_ids(const ConfigFields& fields, std::vector<int32_t>& to) {
  constexpr size_t kMaxIds = 1024;
  const Json* ids = fields.find("eos_token_id");
  if (ids == nullptr) return {};
  if (!ids->is_array()) {
    std::optional<int32_t> id;
    MM2_RETURN_IF_ERROR(read_integer(fields, "eos_token_id", id));
    to.push_back(*id);
    return {};
  }
  if (ids->size() > kMaxIds)
    return fields.wrong("eos_token_id", join("at most ", kMaxIds, " are supported"));
  for (const Json& id : *ids) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(kMaxId)) {
      return error(Code::format, fields.what(), ": eos_token_id holds ", shown(id),
                   ", must be token ids");
    }
    to.push_back(static_cast<int32_t>(id.get<uint64_t>()));
  }
  return {};
}

}  // namespace

Result<GenerationConfig> parse_generation_config(std::string_view text, const std::string& what) {
  MM2_ASSIGN_OR_RETURN(const Json root, parse_json(text, what));
  if (!root.is_object()) return error(Code::format, what, ": must hold a JSON object");
  const ConfigFields fields(root, what);
  GenerationConfig config;
  bool sample = false, found = false;
  MM2_RETURN_IF_ERROR(fields.boolean("do_sample", sample, found));
  if (found) config.do_sample = sample;
  MM2_RETURN_IF_ERROR(read_number(fields, "temperature", 0, 1e6, config.temperature));
  MM2_RETURN_IF_ERROR(read_number(fields, "top_p", 0, 1, config.top_p));
  MM2_RETURN_IF_ERROR(read_number(fields, "min_p", 0, 1, config.min_p));
  MM2_RETURN_IF_ERROR(read_integer(fields, "top_k", config.top_k));
  MM2_RETURN_IF_ERROR(
      read_number(fields, "repetition_penalty", 1e-6, 1e6, config.repetition_penalty));
  MM2_RETURN_IF_ERROR(read_integer(fields, "bos_token_id", config.bos_token_id));
  MM2_RETURN_IF_ERROR(read_end_ids(fields, config.eos_token_ids));
  return config;
}

Result<GenerationConfig> load_generation_config(const std::string& folder, const Host& host) {
  const std::string file = join_path(folder, "generation_config.json");
  Result<std::string> text = read_all(*host.source, file, kMaxFile);
  if (!text.ok() && text.status().code() == Code::not_found) return GenerationConfig{};
  if (!text.ok()) return text.status();
  return parse_generation_config(*text, file);
}

}  // namespace mm2
