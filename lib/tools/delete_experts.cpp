// delete-experts: a checkpoint without some experts of each layer, by a saved mask or by comparing it
// with a model that was pruned before.
#include "format/atomic_writer.h"
#include "tools/expert_deletion.h"
#include "tools/routers.h"
#include "tools/verbs.h"
#include "tools/writing.h"

namespace mm2 {
namespace {

struct Options {
  std::string model, compare_with, mask_file, save;
  int32_t n_original = 0, n_retained = 0;
  MatchOptions match;
  bool strip_kv_bias = true;
};

Result<Options> read_options(const OptionReader& reader) {
  Options to;
  MM2_RETURN_IF_ERROR(reader.text("model", to.model));
  MM2_RETURN_IF_ERROR(reader.text("compare_with", to.compare_with));
  MM2_RETURN_IF_ERROR(reader.text("deleted_experts_file", to.mask_file));
  MM2_RETURN_IF_ERROR(reader.text("save_deleted_experts", to.save));
  MM2_RETURN_IF_ERROR(reader.integer("num_original_experts", 1, INT32_MAX, to.n_original));
  MM2_RETURN_IF_ERROR(reader.integer("num_retained_experts", 1, INT32_MAX, to.n_retained));
  MM2_RETURN_IF_ERROR(reader.number("min_margin", 0, 2, to.match.min_margin));
  MM2_RETURN_IF_ERROR(reader.number("max_cost", 0, 2, to.match.max_cost));
  MM2_RETURN_IF_ERROR(reader.boolean("strip_kv_bias", to.strip_kv_bias));
  if (to.compare_with.empty() == to.mask_file.empty()) {
    return reader.wrong("compare_with", "or else deleted_experts_file must be given, not both");
  }
  if (!to.save.empty() && to.compare_with.empty()) {
    return reader.wrong("save_deleted_experts", "goes with compare_with only");
  }
  return to;
}

// The counts that the user gave are a check; without them the checkpoints tell.
Status check_counts(const OptionReader& reader, const Options& options, int32_t n_original,
                    int32_t n_retained) {
  if (options.n_original != 0 && options.n_original != n_original) {
    return reader.wrong("num_original_experts",
                        join("is ", options.n_original, ", the model has ", n_original));
  }
  if (options.n_retained != 0 && options.n_retained != n_retained) {
    return reader.wrong("num_retained_experts",
                        join("is ", options.n_retained, ", the reference has ", n_retained));
  }
  return {};
}

Result<ExpertMask> read_mask(const OptionReader& reader, const Options& options,
                             const CheckpointView& view, const Host& host) {
  constexpr uint64_t kMaxMask = 64 << 20;
  const ModelConfig& config = view.config();
  MM2_RETURN_IF_ERROR(check_counts(reader, options, config.n_experts, options.n_retained));
  if (options.n_retained == 0) {
    return reader.wrong("num_retained_experts", "must be given with deleted_experts_file");
  }
  MM2_ASSIGN_OR_RETURN(const std::string text, read_all(*host.source, options.mask_file, kMaxMask));
  return parse_mask(text, options.mask_file,
                    {config.n_layers, config.n_experts, config.n_experts - options.n_retained});
}

Result<ExpertMask> derive_mask(const OptionReader& reader, const Options& options,
                               const WritingVerb& verb, Json& report) {
  MM2_ASSIGN_OR_RETURN(const Routers ours, Routers::open(options.model, verb.host()));
  MM2_ASSIGN_OR_RETURN(const Routers theirs, Routers::open(options.compare_with, verb.host()));
  MM2_RETURN_IF_ERROR(
      check_counts(reader, options, ours.config().n_experts, theirs.config().n_experts));
  MM2_ASSIGN_OR_RETURN(MatchedModel matched,
                       match_models(ours, theirs, options.match, verb.executor()));
  MM2_RETURN_IF_ERROR(Status(matched.verdict).in("comparing with " + options.compare_with));
  report = match_report(matched);
  if (!matched.ascending) {
    const char* const remark = "the reference has the same experts in another order";
    if (verb.strict()) return error(Code::check_failed, options.compare_with, ": ", remark);
    report["remarks"] = {remark};
  }
  return std::move(matched.mask);
}

}  // namespace

Status run_delete_experts(const Json& json, const Host& host, Json* report) {
  static constexpr std::string_view kOwn[] = {"model",
                                              "compare_with",
                                              "deleted_experts_file",
                                              "save_deleted_experts",
                                              "num_original_experts",
                                              "num_retained_experts",
                                              "min_margin",
                                              "max_cost",
                                              "strip_kv_bias"};
  MM2_ASSIGN_OR_RETURN(const WritingVerb verb,
                       WritingVerb::read("delete-experts", json, kOwn, host));
  MM2_ASSIGN_OR_RETURN(const Options options, read_options(verb.reader()));
  MM2_ASSIGN_OR_RETURN(const auto view, verb.open_input(options.model));
  Json match;
  const bool derive = !options.compare_with.empty();
  MM2_ASSIGN_OR_RETURN(const ExpertMask mask, derive
                                                  ? derive_mask(verb.reader(), options, verb, match)
                                                  : read_mask(verb.reader(), options, *view, host));
  WritePlan plan = verb.plan_for(*view);
  // What decides the output is the mask, not the file or model that it came from.
  for (const char* name :
       {"compare_with", "deleted_experts_file", "save_deleted_experts", "min_margin", "max_cost"}) {
    plan.recipe.erase(name);
  }
  plan.recipe["deleted"] = mask.deleted;
  if (derive) plan.inputs.push_back(options.compare_with);
  MM2_ASSIGN_OR_RETURN(const DeletionCounts counts,
                       plan_expert_deletion(*view, mask, options.strip_kv_bias, host, plan));
  MM2_RETURN_IF_ERROR(verb.write(plan, report));
  (*report)["experts"] = mask.n_experts - mask.n_deleted();
  (*report)["what_happened_to_tensors"] = counts.report();
  if (derive) (*report)["match"] = std::move(match);
  if (!options.save.empty() && !report->contains("dry_run")) {
    MM2_RETURN_IF_ERROR(write_text_file(options.save, mask_text(mask) + "\n"));
    (*report)["deleted_experts"] = options.save;
  }
  return {};
}

}  // namespace mm2
