// match-experts: which experts a pruned model was left with.
#include "format/atomic_writer.h"
#include "tools/expert_sketches.h"
#include "tools/option_reader.h"
#include "tools/routers.h"
#include "tools/tool_options.h"
#include "tools/verbs.h"

namespace mm2 {

Status run_match_experts(const Json& json, const Host& host, Json* report) {
  static constexpr std::string_view kAllowed[] = {"model",   "reference",  "save_deleted_experts",
                                                  "details", "min_margin", "max_cost",
                                                  "weights", "threads",    "strict"};
  const OptionReader reader("match-experts", json);
  MM2_RETURN_IF_ERROR(reader.check_names(kAllowed));
  std::string model, reference, save, details;
  MatchOptions options;
  bool strict = false, weights = false;
  int32_t threads = 0;
  MM2_RETURN_IF_ERROR(reader.text("model", model));
  MM2_RETURN_IF_ERROR(reader.text("reference", reference));
  MM2_RETURN_IF_ERROR(reader.text("save_deleted_experts", save));
  MM2_RETURN_IF_ERROR(reader.text("details", details));
  MM2_RETURN_IF_ERROR(reader.number("min_margin", 0, 2, options.min_margin));
  MM2_RETURN_IF_ERROR(reader.number("max_cost", 0, 2, options.max_cost));
  MM2_RETURN_IF_ERROR(reader.boolean("weights", weights));
  MM2_RETURN_IF_ERROR(reader.boolean("strict", strict));
  MM2_RETURN_IF_ERROR(reader.integer("threads", 0, 4096, threads));
  if (model.empty()) return reader.wrong("model", "must name the original checkpoint");
  if (reference.empty()) return reader.wrong("reference", "must name the pruned checkpoint");
  MM2_ASSIGN_OR_RETURN(const Routers ours, Routers::open(model, host));
  MM2_ASSIGN_OR_RETURN(const Routers theirs, Routers::open(reference, host));
  MM2_ASSIGN_OR_RETURN(const auto executor, tool_executor(threads, host));
  MM2_ASSIGN_OR_RETURN(MatchedModel matched, match_models(ours, theirs, options, *executor));
  if (weights) MM2_RETURN_IF_ERROR(confirm_by_weights(ours, theirs, *executor, matched));

  Json made = match_report(matched);
  Status verdict = matched.verdict;
  if (verdict.ok() && !matched.ascending) {
    const char* const remark =
        "the reference does not keep the order of the original: renumbering by ascending id gives "
        "the same experts in another order";
    made["remarks"] = {remark};
    if (strict) verdict = error(Code::check_failed, remark);
  }
  if (!details.empty()) {
    MM2_ASSIGN_OR_RETURN(const Json all, match_details(ours, theirs, matched));
    MM2_RETURN_IF_ERROR(write_text_file(details, all.dump(1) + "\n"));
    made["details"] = details;
  }
  if (verdict.ok() && !save.empty()) {
    MM2_RETURN_IF_ERROR(write_text_file(save, mask_text(matched.mask) + "\n"));
    made["deleted_experts"] = save;
  }
  made["certain"] = verdict.ok();
  *report = std::move(made);
  return verdict;
}

}  // namespace mm2
