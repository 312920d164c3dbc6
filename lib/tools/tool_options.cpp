#include "tools/tool_options.h"

#include <algorithm>

namespace mm2 {
namespace {

constexpr int64_t kMaxThreads = 4096;
constexpr int64_t kMaxLayer = 1'000'000;

class OptionReader {
 public:
  OptionReader(std::string_view verb, const Json& options) : verb_(verb), options_(options) {}

  Status boolean(const char* name, bool& to) const {
    const Json* value = find(name);
    if (value == nullptr) return {};
    if (!value->is_boolean()) return wrong(name, "must be true or false");
    to = value->get<bool>();
    return {};
  }

  Status text(const char* name, std::string& to) const {
    const Json* value = find(name);
    if (value == nullptr) return {};
    if (!value->is_string()) return wrong(name, "must be a string");
    to = value->get<std::string>();
    return {};
  }

  Status integer(const char* name, int64_t low, int64_t high, int32_t& to) const {
    const Json* value = find(name);
    if (value == nullptr) return {};
    const bool fits = value->is_number_integer() && !(value->is_number_unsigned() &&
                                                      value->get<uint64_t>() > uint64_t{INT32_MAX});
    if (!fits || value->get<int64_t>() < low || value->get<int64_t>() > high) {
      return wrong(name, join("must be a whole number from ", low, " to ", high));
    }
    to = static_cast<int32_t>(value->get<int64_t>());
    return {};
  }

  Status hash(const char* name, HashKind& to) const {
    const Json* value = find(name);
    if (value == nullptr) return {};
    if (value->is_boolean()) {
      to = value->get<bool>() ? HashKind::xxh3 : HashKind::none;
      return {};
    }
    if (*value == "xxh3") {
      to = HashKind::xxh3;
    } else if (*value == "sha256") {
      to = HashKind::sha256;
    } else {
      return wrong(name, "must be true, false, \"xxh3\" or \"sha256\"");
    }
    return {};
  }

  Status wrong(const char* name, const std::string& wanted) const {
    return error(Code::invalid_argument, verb_, ": option ", name, ": ", wanted);
  }

 private:
  const Json* find(const char* name) const {
    const auto found = options_.find(name);
    return found == options_.end() || found->is_null() ? nullptr : &*found;
  }

  std::string_view verb_;
  const Json& options_;
};

}  // namespace

Result<ToolOptions> read_tool_options(std::string_view verb, const Json& options,
                                      std::span<const std::string_view> allowed) {
  if (!options.is_object()) {
    return error(Code::invalid_argument, verb, ": the options must be a JSON object");
  }
  for (const auto& [name, value] : options.items()) {
    if (std::find(allowed.begin(), allowed.end(), std::string_view(name)) == allowed.end()) {
      return error(Code::invalid_argument, verb, ": unknown option ", name.substr(0, 100));
    }
  }
  ToolOptions to;
  const OptionReader reader(verb, options);
  MM2_RETURN_IF_ERROR(reader.text("model", to.model));
  MM2_RETURN_IF_ERROR(reader.integer("threads", 0, kMaxThreads, to.threads));
  MM2_RETURN_IF_ERROR(reader.boolean("strict", to.strict));
  MM2_RETURN_IF_ERROR(reader.integer("layer", 0, kMaxLayer, to.layer));
  MM2_RETURN_IF_ERROR(reader.text("tensor", to.tensor));
  MM2_RETURN_IF_ERROR(reader.boolean("deep", to.deep));
  MM2_RETURN_IF_ERROR(reader.hash("hash", to.hash));
  MM2_RETURN_IF_ERROR(reader.text("manifest", to.manifest));
  if (to.model.empty()) return reader.wrong("model", "must name a checkpoint");
  return to;
}

Result<std::shared_ptr<Executor>> tool_executor(const ToolOptions& options, const Host& host) {
  if (options.threads > 0) return make_thread_team(options.threads);
  if (host.executor != nullptr) return host.executor;
  return make_thread_team(usable_cores());
}

bool matches_glob(std::string_view name, std::string_view pattern) {
  size_t n = 0, p = 0;
  size_t star = pattern.npos, resume = 0;  // the last '*' and where its match ends so far
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != pattern.npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace mm2
