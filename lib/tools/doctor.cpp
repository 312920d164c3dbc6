// doctor: everything that a checkpoint may suffer from, and a repair of what needs no data.
#include "tools/doctor.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>

#include "quant/kv_scales.h"
#include "tools/derived.h"
#include "tools/tensor_pass.h"
#include "tools/tool_options.h"
#include "tools/verbs.h"
#include "tools/writing.h"

namespace mm2 {
namespace {

constexpr std::string_view kOwn[] = {"model", "engine", "tp", "ep", "deep", "fix"};

struct Options {
  std::string model, out;
  ServingPlan serving;
  bool deep = false, fix = false, strict = false;
  int32_t threads = 0;
};

Result<Options> read_options(const OptionReader& reader) {
  static constexpr std::string_view kEngines[] = {"vllm", "sglang", "mm2"};
  Options to;
  MM2_RETURN_IF_ERROR(reader.text("model", to.model));
  MM2_RETURN_IF_ERROR(reader.text("out", to.out));
  MM2_RETURN_IF_ERROR(reader.word("engine", kEngines, to.serving.engine));
  MM2_RETURN_IF_ERROR(reader.integer("tp", 1, 1024, to.serving.tp));
  MM2_RETURN_IF_ERROR(reader.integer("ep", 1, 1024, to.serving.ep));
  MM2_RETURN_IF_ERROR(reader.integer("threads", 0, 4096, to.threads));
  MM2_RETURN_IF_ERROR(reader.boolean("deep", to.deep));
  MM2_RETURN_IF_ERROR(reader.boolean("fix", to.fix));
  MM2_RETURN_IF_ERROR(reader.boolean("strict", to.strict));
  if (to.model.empty()) return reader.wrong("model", "must name a checkpoint");
  if (to.fix != !to.out.empty()) return reader.wrong("fix", "and out must be given together");
  return to;
}

void append(std::vector<Finding>& all, std::vector<Finding>&& more) {
  for (Finding& finding : more) all.push_back(std::move(finding));
}

std::vector<Finding> diagnose_files(const CheckpointView& view) {
  std::vector<Finding> findings;
  for (const std::string& remark : view.remarks()) {
    findings.push_back({"configuration", Severity::note, view.folder(), remark,
                        "mm2 goes on; other engines may not", "correct it where it stands"});
  }
  const std::string folder = view.folder().empty() ? "." : view.folder();
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    if (std::filesystem::exists(folder + "/" + name)) continue;
    findings.push_back({"files", Severity::warning, name, "is not there",
                        "engines cannot turn text into tokens", "copy it from the original model"});
  }
  return findings;
}

Result<std::vector<Finding>> diagnose_values(const CheckpointView& view, const Options& options,
                                             const Host& host) {
  MM2_ASSIGN_OR_RETURN(const auto executor, tool_executor(options.threads, host));
  MM2_ASSIGN_OR_RETURN(const auto found,
                       pass_over_tensors(view.source(), true, HashKind::none, *executor, host));
  std::vector<Finding> findings;
  for (size_t i = 0; i < found.size(); ++i) {
    const ValueCounts& values = found[i].values;
    if (values.n_nan + values.n_infinite == 0) continue;
    findings.push_back({"values", Severity::error, view.source().tensors()[i].name,
                        join(values.n_nan, " NaN and ", values.n_infinite,
                             " infinite numbers, the first at ", values.first),
                        "every token that meets them becomes NaN",
                        "fetch the file again, or write the tensor anew from the original"});
  }
  return findings;
}

// The scale that an expert of these inputs should have: w1 and w3 of a layer all read the same hidden
// states, so the largest is right for all of them; inputs of w2 differ, so its outliers alone rise to
// the upper quantile of their peers.
class InputScales {
 public:
  Status gather(const CheckpointView& view) {
    for (const ViewWeight& weight : view.weights()) {
      if (weight.place.expert < 0) continue;
      MM2_ASSIGN_OR_RETURN(const auto scale, input_scale_of(view, weight));
      if (scale) scales_[key(weight)].push_back(*scale);
    }
    for (auto& [where, all] : scales_) std::sort(all.begin(), all.end());
    return {};
  }

  float repaired(const ViewWeight& weight, float scale) const {
    const std::vector<float>& all = scales_.at(key(weight));
    if (weight.place.role != Role::w2) return all.back();
    const float quantile = all[all.size() * 9 / 10];
    return scale >= all[all.size() / 2] / 4 ? scale : quantile;
  }

 private:
  static std::pair<int32_t, bool> key(const ViewWeight& weight) {
    return {weight.place.layer, weight.place.role == Role::w2};
  }
  std::map<std::pair<int32_t, bool>, std::vector<float>> scales_;
};

// The same checkpoint with input scales of cold experts raised and biases of the cache left out.
Status write_repaired(const Json& json, const Host& host, const CheckpointView& view,
                      Json& report) {
  MM2_ASSIGN_OR_RETURN(const WritingVerb verb, WritingVerb::read("doctor", json, kOwn, host));
  InputScales scales;
  MM2_RETURN_IF_ERROR(scales.gather(view));
  std::map<const TensorInfo*, float> changed;
  for (const ViewWeight& weight : view.weights()) {
    if (weight.place.expert < 0 || weight.description.is_plain()) continue;
    for (const char* suffix : {".input_scale", ".input_global_scale"}) {
      const TensorInfo* tensor = view.source().find(weight.place.stem + suffix);
      if (tensor == nullptr || tensor->dtype != Dtype::f32) continue;
      MM2_ASSIGN_OR_RETURN(const auto scale, input_scale_of(view, weight));
      const float repaired = scales.repaired(weight, *scale);
      if (repaired == *scale) continue;
      changed[tensor] = std::string_view(suffix) == ".input_scale" ? repaired : 1.0f / repaired;
    }
  }
  WritePlan plan = verb.plan_for(view);
  size_t n_stripped = 0;
  for (const TensorInfo& tensor : view.source().tensors()) {
    if (is_kv_bias(tensor.name)) {
      ++n_stripped;
      continue;
    }
    const auto found = changed.find(&tensor);
    if (found == changed.end()) {
      carry_over(view, tensor, plan);
      continue;
    }
    Piece piece;
    piece.outputs = {{plan.add(tensor.name, tensor.dtype, tensor.shape), 0, sizeof(float)}};
    piece.run = [value = found->second](PieceRun& run) -> Status {
      std::memcpy(run.outputs[0].data(), &value, sizeof value);
      return {};
    };
    plan.pieces.push_back(std::move(piece));
  }
  plan.files.push_back({"config.json", "", join_path(view.folder(), "config.json")});
  for (const char* name :
       {"quantization_config.json", "quantize_config.json", "hf_quant_config.json"}) {
    const std::string path = join_path(view.folder(), name);
    if (host.source->open(path).ok()) plan.files.push_back({name, "", path});
  }
  Json& repaired = report["repaired"];
  MM2_RETURN_IF_ERROR(verb.write(plan, &repaired));
  repaired["input_scales"] = changed.size();
  repaired["stripped_biases"] = n_stripped;
  return {};
}

}  // namespace

std::vector<Finding> diagnose_serving(const CheckpointView& view, const ServingPlan& plan) {
  std::vector<Finding> findings;
  const ModelConfig& c = view.config();
  const auto refuse = [&](std::string where, std::string found, std::string remedy) {
    findings.push_back({"serving", Severity::error, std::move(where), std::move(found),
                        "engines refuse to load it so", std::move(remedy)});
  };
  if (plan.ep > 1 && c.n_experts % plan.ep != 0) {
    refuse("experts", join(c.n_experts, " experts cannot be dealt to ep ", plan.ep),
           "another ep, or redundant experts");
  }
  if (plan.tp > 1 && c.n_heads % plan.tp != 0) {
    refuse("attention", join(c.n_heads, " heads cannot be dealt to tp ", plan.tp), "another tp");
  }
  if (plan.tp > c.n_kv_heads && plan.tp % c.n_kv_heads != 0) {
    refuse("attention", join("tp ", plan.tp, " is no multiple of ", c.n_kv_heads, " KV heads"),
           "another tp");
  }
  // With expert parallelism whole experts are dealt, and their matrices stay whole.
  const int32_t split = plan.ep > 1 ? 1 : plan.tp;
  std::map<std::string, bool> said;
  for (const ViewWeight& weight : view.weights()) {
    const WeightDescription& d = weight.description;
    if (weight.place.expert < 0 || d.is_plain() || split == 1) continue;
    const bool columns = weight.place.role == Role::w2;
    const int64_t whole = columns ? weight.place.n_cols() : weight.place.n_rows();
    const int64_t patch = columns ? d.scale_cols : d.scale_rows;
    const int64_t part = whole / split;
    const bool shared = d.scheme->granularity == Granularity::block ||
                        (columns && d.scheme->granularity == Granularity::group);
    const std::string name(role_name(weight.place.role));
    std::string found;
    if (whole % split != 0) {
      found = join(whole, columns ? " columns" : " rows", " cannot be dealt to tp ", split);
    } else if (shared && part % std::max<int64_t>(1, patch) != 0) {
      found = join(part, columns ? " columns" : " rows", " of a rank are no multiple of ", patch,
                   ", which share a scale (", d.to_string(), ")");
    } else if (plan.engine == "vllm" && d.scheme->codes == CodeType::integer && part % 64 != 0) {
      found = join(part, " of a rank are no multiple of 64, which Marlin kernels want");
    }
    if (found.empty() || said[name + found]) continue;
    said[name + found] = true;
    refuse("experts: " + name, found,
           join("tp ", split / 2, ", or ep ", split, " (expert parallelism keeps experts whole)"));
  }
  return findings;
}

Status run_doctor(const Json& json, const Host& host, Json* report) {
  std::vector<std::string_view> allowed(std::begin(kOwn), std::end(kOwn));
  for (const char* name : {"out", "mem", "max_shard", "dry_run", "resume", "threads", "strict"}) {
    allowed.push_back(name);
  }
  const OptionReader reader("doctor", json);
  MM2_RETURN_IF_ERROR(reader.check_names(allowed));
  MM2_ASSIGN_OR_RETURN(const Options options, read_options(reader));
  std::vector<Finding> findings;
  Json made = {{"model", options.model}};
  const auto view = CheckpointView::open(options.model, host);
  if (!view.ok()) {
    std::error_code ignored;
    const bool nothing =
        view.status().code() == Code::not_found && !std::filesystem::exists(options.model, ignored);
    if (nothing || view.status().code() == Code::cancelled) {
      return view.status();
    }
    findings.push_back({"checkpoint", Severity::error, options.model, view.status().message(),
                        "it cannot be used", "mm2 verify says more"});
  } else {
    append(findings, diagnose_files(**view));
    MM2_ASSIGN_OR_RETURN(auto weights, diagnose_weights(**view));
    append(findings, std::move(weights));
    MM2_ASSIGN_OR_RETURN(auto inputs, diagnose_input_scales(**view));
    append(findings, std::move(inputs));
    MM2_ASSIGN_OR_RETURN(auto zeros, diagnose_zeros(**view));
    append(findings, std::move(zeros));
    MM2_ASSIGN_OR_RETURN(auto kv, diagnose_kv_scales(**view));
    append(findings, std::move(kv));
    append(findings, diagnose_serving(**view, options.serving));
    if (options.deep) {
      MM2_ASSIGN_OR_RETURN(auto values, diagnose_values(**view, options, host));
      append(findings, std::move(values));
    }
  }
  made["findings"] = Json::array();
  size_t n_errors = 0, n_warnings = 0;
  for (const Finding& finding : findings) {
    made["findings"].push_back(finding.report());
    n_errors += finding.severity == Severity::error;
    n_warnings += finding.severity == Severity::warning;
  }
  made["errors"] = n_errors;
  made["warnings"] = n_warnings;
  if (options.fix && view.ok()) MM2_RETURN_IF_ERROR(write_repaired(json, host, **view, made));
  *report = std::move(made);
  if (n_errors > 0 || (options.strict && n_warnings > 0)) {
    return error(Code::check_failed, options.model, ": ", n_errors, " errors and ", n_warnings,
                 " warnings");
  }
  return {};
}

}  // namespace mm2
