#include "tools/tools.h"

#include <array>

#include "tools/verbs.h"

namespace mm2 {

Status run_tool(std::string_view verb, const Json& options, const Host& host, Json* report) {
  const Json given = options.is_null() ? Json::object() : options;
  if (verb == "inspect") return run_inspect(given, host, report);
  if (verb == "verify") return run_verify(given, host, report);
  constexpr std::array<std::string_view, 19> kPlanned = {
      "doctor",    "convert",     "quantize",      "repack",        "merge",
      "forensics", "calibrate",   "prune",         "match-experts", "delete-experts",
      "kv-scales", "to-megatron", "from-megatron", "shard-plan",    "reshard",
      "roundtrip", "manifest",    "resume",        "tensor"};
  for (const std::string_view planned : kPlanned) {
    if (verb == planned)
      return error(Code::unsupported, "the verb ", verb, " is not implemented yet");
  }
  return error(Code::not_found, "there is no verb \"", verb.substr(0, 100),
               "\"; there are inspect and verify");
}

}  // namespace mm2
