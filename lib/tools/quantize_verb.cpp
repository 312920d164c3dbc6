// quantize, convert, repack: the same weights in another layout.
#include <algorithm>
#include <vector>

#include "tools/quantize/repack.h"
#include "tools/quantize_plan.h"
#include "tools/verbs.h"
#include "tools/writing.h"

namespace mm2 {
namespace {

// Own names and those of a recipe.
std::vector<std::string_view> with_recipe_names(std::initializer_list<std::string_view> own) {
  std::vector<std::string_view> names(own);
  for (const std::string_view name : quant_recipe_names()) names.push_back(name);
  return names;
}

Status read_choice(const OptionReader& reader, const Host& host, QuantizeOptions& to) {
  static constexpr std::string_view kOnly[] = {"experts", "attention"};
  MM2_RETURN_IF_ERROR(reader.texts("ignore", to.ignore));
  MM2_RETURN_IF_ERROR(reader.word("only", kOnly, to.only));
  MM2_RETURN_IF_ERROR(reader.boolean("errors", to.errors));
  MM2_RETURN_IF_ERROR(reader.text("stats", to.stats_path));
  if (!to.stats_path.empty()) {
    MM2_ASSIGN_OR_RETURN(to.stats, CalibrationStats::open(to.stats_path, host));
  }
  return {};
}

Status write_quantized(const WritingVerb& verb, const CheckpointView& view,
                       QuantizeOptions&& options, Json* report) {
  WritePlan plan = verb.plan_for(view);
  if (options.stats != nullptr) {
    plan.inputs.push_back(options.stats_path);
    MM2_ASSIGN_OR_RETURN(plan.recipe["stats"], options.stats->digest());
  }
  if (!verb.options().dry_run) options.executor = &verb.executor();
  const bool awq = options.choice.awq;
  QuantizePlan quantized(view, std::move(options), plan);
  MM2_RETURN_IF_ERROR(quantized.run(verb.host()));
  const Json words = quantization_words(quantized.written());
  const auto files = quantization_files(quantized.written(), words);
  plan.files.insert(plan.files.end(), files.begin(), files.end());
  plan.files.push_back(
      {"config.json", config_text(with_quantization(view.config_json(), words, "")), ""});
  Json made;
  MM2_RETURN_IF_ERROR(verb.write(plan, &made));
  made["matrices"] = quantized.n_quantized();
  if (awq) made["scaled_sets"] = quantized.n_scaled();
  *report = std::move(made);
  return {};
}

// A 16-bit or 32-bit type, "fp8" and the like.
struct Target {
  std::string_view word;
  Dtype dtype;
  std::string_view torch;   // of plain types
  std::string_view format;  // of FP8: a layout
};
constexpr Target kTargets[] = {{"bf16", Dtype::bf16, "bfloat16", ""},
                               {"f16", Dtype::f16, "float16", ""},
                               {"f32", Dtype::f32, "float32", ""},
                               {"fp8", Dtype::f8_e4m3, "", "fp8_block"},
                               {"fp8-ct", Dtype::f8_e4m3, "", "fp8_block_ct"},
                               {"fp8-channel", Dtype::f8_e4m3, "", "fp8_row"},
                               {"fp8-tensor", Dtype::f8_e4m3, "", "fp8_matrix"}};

// Router and its bias keep their type: they are F32 where it matters.
bool keeps_type(const ViewWeight& weight) {
  return weight.place.role == Role::router || weight.place.role == Role::router_bias;
}

Status write_plain(const WritingVerb& verb, const CheckpointView& view, const Target& target,
                   bool exact, Json* report) {
  WritePlan plan = verb.plan_for(view);
  for (const ViewWeight& weight : view.weights()) {
    if (is_tied(view, weight)) continue;
    const bool same = weight.description.is_plain() && weight.description.dtype() == target.dtype;
    if (same || keeps_type(weight)) {
      MM2_RETURN_IF_ERROR(carry_over(view, weight, plan));
    } else {
      plan_numbers(view, weight, target.dtype, exact, plan);
    }
  }
  for (const TensorInfo* tensor : view.others()) carry_over(view, *tensor, plan);
  plan.files.push_back({"config.json",
                        config_text(with_quantization(view.config_json(), nullptr, target.torch)),
                        ""});
  return verb.write(plan, report);
}

}  // namespace

Status run_quantize(const Json& json, const Host& host, Json* report) {
  const auto own = with_recipe_names({"model", "ignore", "only", "stats", "errors"});
  MM2_ASSIGN_OR_RETURN(const WritingVerb verb, WritingVerb::read("quantize", json, own, host));
  std::string model;
  MM2_RETURN_IF_ERROR(verb.reader().text("model", model));
  QuantizeOptions options;
  MM2_ASSIGN_OR_RETURN(options.choice, read_quant_recipe("quantize", json));
  MM2_RETURN_IF_ERROR(read_choice(verb.reader(), host, options));
  MM2_ASSIGN_OR_RETURN(const auto view, verb.open_input(model));
  return write_quantized(verb, *view, std::move(options), report);
}

Status run_convert(const Json& json, const Host& host, Json* report) {
  static constexpr std::string_view kOwn[] = {"model", "to",     "scale", "exact",
                                              "only",  "ignore", "errors"};
  static constexpr std::string_view kScales[] = {"amax", "mse", "ue8m0"};
  MM2_ASSIGN_OR_RETURN(const WritingVerb verb, WritingVerb::read("convert", json, kOwn, host));
  const OptionReader reader = verb.reader();
  std::string model, to, scale;
  bool exact = false;
  MM2_RETURN_IF_ERROR(reader.text("model", model));
  MM2_RETURN_IF_ERROR(reader.text("to", to));
  MM2_RETURN_IF_ERROR(reader.word("scale", kScales, scale));
  MM2_RETURN_IF_ERROR(reader.boolean("exact", exact));
  const auto* target = std::find_if(std::begin(kTargets), std::end(kTargets),
                                    [&](const Target& t) { return t.word == to; });
  if (target == std::end(kTargets)) {
    return reader.wrong("to", "must be bf16, f16, f32, fp8, fp8-ct, fp8-channel or fp8-tensor");
  }
  MM2_ASSIGN_OR_RETURN(const auto view, verb.open_input(model));
  if (target->format.empty()) {
    if (!scale.empty()) return reader.wrong("scale", "is for FP8");
    return write_plain(verb, *view, *target, exact, report);
  }
  if (exact) return reader.wrong("exact", "is for bf16, f16 and f32");
  QuantizeOptions options;
  Json recipe = {{"format", target->format}};
  if (!scale.empty()) recipe["rule"] = scale;
  MM2_ASSIGN_OR_RETURN(options.choice, read_quant_recipe("convert", recipe));
  MM2_RETURN_IF_ERROR(read_choice(reader, host, options));
  return write_quantized(verb, *view, std::move(options), report);
}

}  // namespace mm2
