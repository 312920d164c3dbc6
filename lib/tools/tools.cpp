#include "tools/tools.h"

#include <array>

#include "tools/verbs.h"

namespace mm2 {
namespace {

struct Verb {
  std::string_view name;
  Status (*run)(const Json& options, const Host& host, Json* report);
};

// One a line: verbs come from many sides.
// clang-format off
constexpr std::array kVerbs = {
    Verb{"inspect", run_inspect},
    Verb{"verify", run_verify},
    Verb{"tensor", run_tensor},
    Verb{"doctor", run_doctor},
    Verb{"convert", run_convert},
    Verb{"quantize", run_quantize},
    Verb{"repack", run_repack},
    Verb{"merge", run_merge},
    Verb{"forensics", run_forensics},
    Verb{"calibrate", run_calibrate},
    Verb{"prune", run_prune},
    Verb{"match-experts", run_match_experts},
    Verb{"delete-experts", run_delete_experts},
    Verb{"kv-scales", run_kv_scales},
    Verb{"to-megatron", run_to_megatron},
    Verb{"from-megatron", run_from_megatron},
    Verb{"shard-plan", run_shard_plan},
    Verb{"reshard", run_reshard},
    Verb{"roundtrip", run_roundtrip},
    Verb{"synth", run_synth},
    Verb{"manifest", run_manifest},
    Verb{"resume", run_resume},
};
// clang-format on

}  // namespace

Status run_tool(std::string_view name, const Json& options, const Host& host, Json* report) {
  const Json given = options.is_null() ? Json::object() : options;
  std::string known;
  for (const Verb& verb : kVerbs) {
    if (verb.name == name) {
      const Status status = verb.run(given, host, report);
      if (status.code() == Code::check_failed && !report->is_object()) *report = Json::object();
      return status;
    }
    known += join(known.empty() ? "" : ", ", verb.name);
  }
  return error(Code::not_found, "there is no verb \"", name.substr(0, 100), "\"; there are ",
               known);
}

}  // namespace mm2
