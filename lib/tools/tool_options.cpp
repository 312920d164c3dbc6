#include "tools/tool_options.h"

#include "tools/option_reader.h"

namespace mm2 {
namespace {

constexpr int64_t kMaxThreads = 4096;
constexpr int64_t kMaxLayer = 1'000'000;

Status read_hash(const OptionReader& reader, HashKind& to) {
  const Json* value = reader.find("hash");
  if (value == nullptr) return {};
  if (value->is_boolean()) {
    to = value->get<bool>() ? HashKind::xxh3 : HashKind::none;
  } else if (*value == "xxh3") {
    to = HashKind::xxh3;
  } else if (*value == "sha256") {
    to = HashKind::sha256;
  } else {
    return reader.wrong("hash", "must be true, false, \"xxh3\" or \"sha256\"");
  }
  return {};
}

}  // namespace

Result<ToolOptions> read_tool_options(std::string_view verb, const Json& options,
                                      std::span<const std::string_view> allowed) {
  const OptionReader reader(verb, options);
  MM2_RETURN_IF_ERROR(reader.check_names(allowed));
  ToolOptions to;
  MM2_RETURN_IF_ERROR(reader.text("model", to.model));
  MM2_RETURN_IF_ERROR(reader.integer("threads", 0, kMaxThreads, to.threads));
  MM2_RETURN_IF_ERROR(reader.boolean("strict", to.strict));
  MM2_RETURN_IF_ERROR(reader.integer("layer", 0, kMaxLayer, to.layer));
  MM2_RETURN_IF_ERROR(reader.text("tensor", to.tensor));
  MM2_RETURN_IF_ERROR(reader.boolean("deep", to.deep));
  MM2_RETURN_IF_ERROR(read_hash(reader, to.hash));
  MM2_RETURN_IF_ERROR(reader.text("manifest", to.manifest));
  if (to.model.empty()) return reader.wrong("model", "must name a checkpoint");
  return to;
}

Result<std::shared_ptr<Executor>> tool_executor(int32_t threads, const Host& host) {
  if (threads > 0) return make_thread_team(threads);
  if (host.executor != nullptr) return host.executor;
  return make_thread_team(usable_cores());
}

}  // namespace mm2
