#include "tools/writing.h"

#include <algorithm>
#include <vector>

#include "tools/tool_options.h"

namespace mm2 {
namespace {

constexpr std::string_view kShared[] = {"out",    "mem",     "max_shard", "dry_run",
                                        "resume", "threads", "strict"};
constexpr int64_t kMaxThreads = 4096;

}  // namespace

Result<WritingVerb> WritingVerb::read(std::string_view verb, const Json& json,
                                      std::span<const std::string_view> own, const Host& host) {
  WritingVerb to;
  to.verb_ = verb;
  to.options_ = json;
  to.host_ = host;
  const OptionReader reader = to.reader();
  std::vector<std::string_view> allowed(own.begin(), own.end());
  allowed.insert(allowed.end(), std::begin(kShared), std::end(kShared));
  MM2_RETURN_IF_ERROR(reader.check_names(allowed));
  int32_t threads = 0;
  MM2_RETURN_IF_ERROR(reader.text("out", to.write_.out));
  MM2_RETURN_IF_ERROR(reader.bytes("mem", to.write_.mem));
  MM2_RETURN_IF_ERROR(reader.bytes("max_shard", to.write_.max_shard));
  MM2_RETURN_IF_ERROR(reader.boolean("dry_run", to.write_.dry_run));
  MM2_RETURN_IF_ERROR(reader.boolean("resume", to.write_.resume));
  MM2_RETURN_IF_ERROR(reader.boolean("strict", to.strict_));
  MM2_RETURN_IF_ERROR(reader.integer("threads", 0, kMaxThreads, threads));
  if (to.write_.out.empty()) return reader.wrong("out", "must name the folder to write");
  if (to.write_.max_shard == 0) return reader.wrong("max_shard", "must be at least 1");
  MM2_ASSIGN_OR_RETURN(to.executor_, tool_executor(threads, host));
  to.write_.verb = verb;
  to.write_.options = json;
  to.write_.options.erase("resume");
  return to;
}

Result<std::shared_ptr<CheckpointView>> WritingVerb::open_input(const std::string& path,
                                                                std::string_view option) const {
  if (path.empty()) return reader().wrong(option, "must name a checkpoint");
  MM2_ASSIGN_OR_RETURN(auto view, CheckpointView::open(path, host_));
  if (strict_ && !view->remarks().empty()) {
    return error(Code::check_failed, path, ": ", view->remarks().front(),
                 "; that is a remark, and strict was asked for");
  }
  return view;
}

WritePlan WritingVerb::plan_for(const CheckpointView& view) const {
  WritePlan plan;
  for (const auto& [name, value] : options_.items()) {
    // What does not decide a byte of the tensors, and paths, which a manifest should not depend on.
    const bool shared =
        std::find(std::begin(kShared), std::end(kShared), name) != std::end(kShared);
    if (!shared && name != "model") plan.recipe[name] = value;
  }
  for (const std::string& name : view.files_to_take()) {
    plan.files.push_back({name, "", join_path(view.folder(), name)});
  }
  add_parent(view, plan);
  return plan;
}

void WritingVerb::add_parent(const CheckpointView& view, WritePlan& plan) {
  plan.inputs.push_back(view.folder().empty() ? "." : view.folder());
  plan.parents.push_back(view.identity());
}

Status WritingVerb::write(const WritePlan& plan, Json* report) const {
  return write_checkpoint(plan, write_, *executor_, host_, report);
}

std::string config_text(const Json& config) {
  return config.dump(2) + "\n";
}

}  // namespace mm2
