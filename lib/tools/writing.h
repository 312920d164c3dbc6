// What the verbs that write a checkpoint have in common.
//
//   Status run_something(const Json& json, const Host& host, Json* report) {
//     static constexpr std::string_view kOwn[] = {"model", "to"};
//     MM2_ASSIGN_OR_RETURN(const WritingVerb verb, WritingVerb::read("something", json, kOwn, host));
//     MM2_RETURN_IF_ERROR(verb.reader().text("to", to)); ...
//     MM2_ASSIGN_OR_RETURN(const auto view, verb.open_input(model));
//     WritePlan plan = verb.plan_for(*view);   // inputs, parents, recipe, files to take along
//     ... plan.add, plan.copy, plan.pieces ...
//     return verb.write(plan, report);
//   }
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/executor.h"
#include "base/host.h"
#include "base/json.h"
#include "base/status.h"
#include "tools/option_reader.h"
#include "tools/stream/checkpoint_view.h"
#include "tools/stream/write.h"

namespace mm2 {

class WritingVerb {
 public:
  /// Reads out, mem, max_shard, dry_run, resume, threads and strict; other names must be in `own`.
  static Result<WritingVerb> read(std::string_view verb, const Json& json,
                                  std::span<const std::string_view> own, const Host& host);

  OptionReader reader() const { return {verb_, options_}; }
  const Host& host() const { return host_; }
  Executor& executor() const { return *executor_; }
  bool strict() const { return strict_; }
  const WriteOptions& options() const { return write_; }

  /// Code::invalid_argument without a name.
  Result<std::shared_ptr<CheckpointView>> open_input(const std::string& path,
                                                     std::string_view option = "model") const;
  /// A plan that begins with `view`: its folder is an input, its identity a parent, its tokenizer and
  /// other files are taken along, and the recipe says everything that this verb was told and that
  /// decides bytes. config.json is the caller's to add.
  WritePlan plan_for(const CheckpointView& view) const;
  /// A further parent.
  static void add_parent(const CheckpointView& view, WritePlan& plan);

  Status write(const WritePlan& plan, Json* report) const;

 private:
  std::string verb_;
  Json options_;
  Host host_;
  std::shared_ptr<Executor> executor_;
  WriteOptions write_;
  bool strict_ = false;
};

/// config.json as text: as it was, with some members changed.
std::string config_text(const Json& config);

}  // namespace mm2
