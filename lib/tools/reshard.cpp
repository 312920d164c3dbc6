// reshard, manifest, resume: the verbs that compute nothing.
#include <filesystem>

#include "format/atomic_writer.h"
#include "tools/stream/hash.h"
#include "tools/stream/journal.h"
#include "tools/subject.h"
#include "tools/tensor_pass.h"
#include "tools/tool_options.h"
#include "tools/tools.h"
#include "tools/verbs.h"
#include "tools/writing.h"

namespace mm2 {

Status run_reshard(const Json& json, const Host& host, Json* report) {
  static constexpr std::string_view kOwn[] = {"model"};
  MM2_ASSIGN_OR_RETURN(const WritingVerb verb, WritingVerb::read("reshard", json, kOwn, host));
  std::string model;
  MM2_RETURN_IF_ERROR(verb.reader().text("model", model));
  MM2_ASSIGN_OR_RETURN(const auto view, verb.open_input(model));
  WritePlan plan = verb.plan_for(*view);
  for (const TensorInfo& tensor : view->source().tensors()) {
    plan.copy(view->source(), tensor, plan.add(tensor.name, tensor.dtype, tensor.shape));
  }
  // What describes the weights stays true: they are the same.
  plan.files.push_back({"config.json", "", join_path(view->folder(), "config.json")});
  for (const char* name :
       {"quantization_config.json", "quantize_config.json", "hf_quant_config.json"}) {
    const std::string path = join_path(view->folder(), name);
    if (host.source->open(path).ok()) plan.files.push_back({name, "", path});
  }
  return verb.write(plan, report);
}

// Digests of a checkpoint as it is, for whoever gets a copy.
Status run_manifest(const Json& json, const Host& host, Json* report) {
  static constexpr std::string_view kAllowed[] = {"model", "threads", "hash", "manifest", "strict"};
  MM2_ASSIGN_OR_RETURN(ToolOptions options, read_tool_options("manifest", json, kAllowed));
  if (options.hash == HashKind::none) options.hash = HashKind::xxh3;
  MM2_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::open(options.model, host));
  MM2_ASSIGN_OR_RETURN(const auto executor, tool_executor(options.threads, host));
  MM2_ASSIGN_OR_RETURN(const auto findings,
                       pass_over_tensors(*checkpoint, false, options.hash, *executor, host));
  Json tensors = Json::object();
  auto& members = static_cast<Json::object_t::Container&>(tensors.get_ref<Json::object_t&>());
  for (size_t i = 0; i < findings.size(); ++i) {
    members.emplace_back(checkpoint->tensors()[i].name, findings[i].digest);
  }
  const std::string file = options.manifest.empty()
                               ? join_path(checkpoint->folder(), "manifest.json")
                               : options.manifest;
  const Json manifest = {{"algorithm", hash_name(options.hash)}, {"tensors", std::move(tensors)}};
  MM2_RETURN_IF_ERROR(write_text_file(file, manifest.dump(1) + "\n"));
  *report = {{"manifest", file},
             {"algorithm", hash_name(options.hash)},
             {"tensors", findings.size()},
             {"bytes", checkpoint->tensor_bytes()}};
  return {};
}

Status run_resume(const Json& json, const Host& host, Json* report) {
  static constexpr std::string_view kAllowed[] = {"out", "threads", "mem", "strict"};
  const OptionReader reader("resume", json);
  MM2_RETURN_IF_ERROR(reader.check_names(kAllowed));
  std::string out;
  MM2_RETURN_IF_ERROR(reader.text("out", out));
  constexpr std::string_view kPartial = ".partial";
  while (out.size() > 1 && out.back() == '/') out.pop_back();
  if (out.ends_with(kPartial)) out.resize(out.size() - kPartial.size());
  if (out.empty()) return reader.wrong("out", "must name the folder that was being written");
  MM2_ASSIGN_OR_RETURN(const JournalContent content, read_journal(out + ".journal"));
  // Killed after the output had got its name: nothing is left to be done.
  std::error_code unknown;
  if (std::filesystem::is_regular_file(out, unknown) ||
      host.source->open(join_path(out, "manifest.json")).ok()) {
    std::filesystem::remove_all(out + ".partial", unknown);
    std::filesystem::remove(out + ".journal", unknown);
    *report = {{"out", out}, {"was_complete", true}};
    return {};
  }
  Json options = content.head.options;
  for (const char* name : {"threads", "mem"}) {
    if (const Json* value = reader.find(name)) options[name] = *value;
  }
  options["out"] = out;
  options["resume"] = true;
  return run_tool(content.head.verb, options, host, report);
}

}  // namespace mm2
