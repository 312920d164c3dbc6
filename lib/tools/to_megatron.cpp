// to-megatron: a checkpoint as the files of Megatron's ranks, bytes moved and none computed.
#include "tools/megatron_io.h"
#include "tools/rank_files.h"
#include "tools/verbs.h"
#include "tools/writing.h"

namespace mm2 {
namespace {

Result<std::vector<RankFile>> plan_files(const HfSource& source, const MegatronOptions& options) {
  const ParallelShape& parallel = options.parallel;
  std::vector<RankFile> files;
  for (const MegatronRank& rank : all_ranks(parallel)) {
    RankFile& file = files.emplace_back();
    file.path = join("release/", rank_folder(rank, parallel), "/",
                     options.format == "torch" ? "model_optim_rng.pt" : "model.safetensors");
    const auto tensors = rank_tensors(source.model(), parallel, options.names, rank);
    for (int32_t chunk = 0; chunk < parallel.vpp; ++chunk) {
      std::vector<MegatronTensor> of_chunk;
      for (const MegatronTensor& tensor : tensors) {
        if (tensor.chunk == chunk) of_chunk.push_back(tensor);
      }
      MM2_ASSIGN_OR_RETURN(auto moved, moved_tensors(source, of_chunk));
      file.groups.push_back({parallel.vpp > 1 ? join("model", chunk) : "model", std::move(moved)});
    }
  }
  return files;
}

}  // namespace

Status run_to_megatron(const Json& json, const Host& host, Json* report) {
  std::vector<std::string_view> own = {"model"};
  own.insert(own.end(), megatron_option_names().begin(), megatron_option_names().end());
  MM2_ASSIGN_OR_RETURN(const WritingVerb verb, WritingVerb::read("to-megatron", json, own, host));
  const OptionReader reader = verb.reader();
  std::string model;
  MegatronOptions options;
  MM2_RETURN_IF_ERROR(reader.text("model", model));
  MM2_RETURN_IF_ERROR(read_megatron_options(reader, options));
  MM2_ASSIGN_OR_RETURN(const auto view, verb.open_input(model));
  MM2_ASSIGN_OR_RETURN(const HfSource source, HfSource::open(*view));
  MM2_RETURN_IF_ERROR(check_layout(source.model(), options.parallel));
  Json left_out = Json::array();
  for (const TensorInfo* other : view->others()) left_out.push_back(other->name);
  if (verb.strict() && !left_out.empty()) {
    return error(Code::check_failed, model, ": Megatron has no place for ", view->others()[0]->name,
                 " and ", left_out.size() - 1, " more tensors");
  }
  MM2_ASSIGN_OR_RETURN(const auto files, plan_files(source, options));

  WritePlan plan = verb.plan_for(*view);
  plan.recipe = megatron_options_json(options);
  plan.files.push_back({"config.json", "", join_path(view->folder(), "config.json")});
  plan.files.push_back({"megatron.json", config_text(megatron_options_json(options)), ""});
  plan.files.push_back({"latest_checkpointed_iteration.txt", "release\n", ""});
  MM2_RETURN_IF_ERROR(write_rank_files(files, plan, verb.options(), verb.executor(), host, report));
  (*report)["layout"] = megatron_options_json(options);
  (*report)["padded_vocab"] = padded_vocab(source.model().n_vocab, options.parallel);
  Json ranks = Json::array();
  for (const RankFile& file : files) {
    ranks.push_back({{"file", file.path}, {"bytes", file.bytes()}});
  }
  (*report)["ranks"] = std::move(ranks);
  if (!left_out.empty()) (*report)["left_out"] = std::move(left_out);
  return {};
}

}  // namespace mm2
