// from-megatron: the files of Megatron's ranks as one checkpoint, bytes moved and none computed.
#include <algorithm>

#include "format/safetensors.h"
#include "tools/megatron/names.h"
#include "tools/megatron/torch_file.h"
#include "tools/megatron_io.h"
#include "tools/verbs.h"
#include "tools/writing.h"

namespace mm2 {
namespace {

constexpr uint64_t kMaxText = 64 << 20;

// Files that to-megatron writes beside those of a checkpoint.
constexpr std::string_view kOurs[] = {"megatron.json", "latest_checkpointed_iteration.txt"};

struct Input {
  std::string folder;     // what the user named
  std::string iteration;  // the folder of the ranks
  std::string config_folder;
  Json config_json;
  ModelConfig config;
  MegatronOptions options;
};

Result<std::string> iteration_folder(const std::string& folder, const Host& host) {
  const std::string path = join_path(folder, "latest_checkpointed_iteration.txt");
  const auto text = read_all(*host.source, path, 4096);
  if (!text.ok()) {
    if (text.status().code() != Code::not_found) return text.status();
    return folder;  // the user named the folder of an iteration
  }
  std::string word = text->substr(0, text->find_first_of(" \r\n"));
  if (word == "release") return join_path(folder, word);
  if (word.empty() || word.size() > 12 ||
      word.find_first_not_of("0123456789") != std::string::npos) {
    return error(Code::format, path, ": it says \"", word.substr(0, 40),
                 "\", wanted is release or a number");
  }
  return join_path(folder,
                   join("iter_", std::string(7 - std::min<size_t>(7, word.size()), '0'), word));
}

Result<Input> read_input(const OptionReader& reader, const Host& host) {
  Input input;
  MM2_RETURN_IF_ERROR(reader.text("model", input.folder));
  if (input.folder.empty()) return reader.wrong("model", "must name a folder of Megatron");
  input.config_folder = input.folder;
  MM2_RETURN_IF_ERROR(reader.text("config", input.config_folder));
  // What to-megatron was told holds unless it is said anew.
  const std::string said = join_path(input.folder, "megatron.json");
  if (const auto text = read_all(*host.source, said, kMaxText); text.ok()) {
    MM2_ASSIGN_OR_RETURN(const Json json, parse_json(*text, said));
    const OptionReader saved(said, json);
    MM2_RETURN_IF_ERROR(saved.check_names(megatron_option_names()));
    MM2_RETURN_IF_ERROR(read_megatron_options(saved, input.options));
  }
  MM2_RETURN_IF_ERROR(read_megatron_options(reader, input.options));
  MM2_ASSIGN_OR_RETURN(input.iteration, iteration_folder(input.folder, host));
  const std::string path = join_path(input.config_folder, "config.json");
  const auto text = read_all(*host.source, path, kMaxText);
  if (!text.ok()) {
    return Status(text.status())
        .in("the option config names the folder of the original checkpoint");
  }
  MM2_ASSIGN_OR_RETURN(input.config_json, parse_json(*text, path));
  MM2_ASSIGN_OR_RETURN(input.config, parse_config(*text, path, host.log));
  return input;
}

// The file of one rank and its tensors by canonical name, chunks told apart.
struct RankSource {
  std::shared_ptr<TensorSource> source;
  absl::flat_hash_map<std::string, const TensorInfo*> by_name;
};

std::string key_of(int32_t chunk, const std::string& name) {
  return join(chunk, " ", name);
}

// "model.", "model0." ... taken off; the chunk that it says.
std::pair<int32_t, std::string_view> split_group(std::string_view name, bool chunks) {
  if (!name.starts_with("model")) return {0, name};
  std::string_view rest = name.substr(5);
  int32_t chunk = 0;
  size_t digits = 0;
  while (digits < rest.size() && digits < 4 && rest[digits] >= '0' && rest[digits] <= '9') {
    chunk = chunk * 10 + (rest[digits++] - '0');
  }
  rest.remove_prefix(digits);
  if (!rest.starts_with('.') || (digits > 0) != chunks) return {0, name};
  return {chunk, rest.substr(1)};
}

class Megatron {
 public:
  static Result<Megatron> open(const Input& input, const Host& host) {
    Megatron made;
    for (const MegatronRank& rank : all_ranks(input.options.parallel)) {
      MM2_ASSIGN_OR_RETURN(RankSource source, open_rank(input, rank, host));
      made.ranks_.push_back(std::move(source));
    }
    return made;
  }

  const std::vector<RankSource>& ranks() const { return ranks_; }

  /// Whether there are scales of such tensors.
  bool has_scales(std::string_view part) const {
    for (const auto& [name, tensor] : ranks_.front().by_name) {
      if (name.find(std::string(part)) != std::string::npos && name.ends_with("_scale_inv"))
        return true;
    }
    return false;
  }

 private:
  static Result<RankSource> open_rank(const Input& input, const MegatronRank& rank,
                                      const Host& host) {
    const MegatronOptions& options = input.options;
    const std::string folder = join_path(input.iteration, rank_folder(rank, options.parallel));
    RankSource made;
    if (options.format == "torch") {
      const std::string path = join_path(folder, "model_optim_rng.pt");
      MM2_ASSIGN_OR_RETURN(auto file, host.source->open(path));
      MM2_ASSIGN_OR_RETURN(made.source, TorchFile::open(std::move(file), path));
    } else {
      MM2_ASSIGN_OR_RETURN(made.source,
                           SafetensorsFile::open(join_path(folder, "model.safetensors"), host));
    }
    for (const TensorInfo& tensor : made.source->tensors()) {
      const auto [chunk, name] = split_group(tensor.name, options.parallel.vpp > 1);
      if (is_megatron_extra(name)) continue;
      const std::string canonical = canonical_megatron_name(name, options.names);
      if (!made.by_name.emplace(key_of(chunk, canonical), &tensor).second) {
        return error(Code::format, folder, ": two tensors are called ", canonical);
      }
    }
    return made;
  }

  std::vector<RankSource> ranks_;
};

// Each tensor of the ranks as the layout wants it: there, of that shape.
class Assembler {
 public:
  Assembler(const Megatron& megatron, const MegatronModel& model, const Input& input)
      : megatron_(megatron), model_(model), input_(input) {}

  Result<std::vector<MovedTensor>> run() {
    const auto ranks = all_ranks(input_.options.parallel);
    std::vector<std::vector<MegatronTensor>> wanted;
    for (size_t i = 0; i < ranks.size(); ++i) {
      wanted.push_back(
          rank_tensors(model_, input_.options.parallel, input_.options.names, ranks[i]));
      auto& found = found_.emplace_back();
      for (const MegatronTensor& tensor : wanted.back()) {
        MM2_ASSIGN_OR_RETURN(const TensorInfo* const info, find(i, ranks[i], tensor));
        found.push_back(info);
      }
      n_expected_ += wanted.back().size();
    }
    MM2_ASSIGN_OR_RETURN(const auto assembled, assemble(model_, wanted));
    std::vector<MovedTensor> all;
    for (const HfTensor& tensor : assembled) {
      MM2_ASSIGN_OR_RETURN(MovedTensor moved, moved_tensor(tensor, wanted));
      all.push_back(std::move(moved));
    }
    return all;
  }

  size_t n_expected() const { return n_expected_; }

 private:
  Result<const TensorInfo*> find(size_t rank, const MegatronRank& place,
                                 const MegatronTensor& tensor) const {
    const RankSource& source = megatron_.ranks()[rank];
    const auto found = source.by_name.find(key_of(tensor.chunk, tensor.name));
    const std::string where = join(source.source->name(), ": tensor ", tensor.name);
    if (found == source.by_name.end()) {
      return error(Code::format, where, " is missing; wanted for tp ", place.tp, ", pp ", place.pp,
                   ", ep ", place.ep, ", etp ", place.etp);
    }
    const Shape& shape = found->second->shape;
    const bool fits = tensor.is_vector ? shape.rank() == 1 && shape[0] == tensor.n_rows
                                       : shape.rank() == 2 && shape[0] == tensor.n_rows &&
                                             shape[1] == tensor.n_cols;
    if (!fits) {
      return error(Code::format, where, " has shape ", shape.to_string(), ", wanted is [",
                   tensor.n_rows, tensor.is_vector ? "" : join(", ", tensor.n_cols), "]");
    }
    return found->second;
  }

  Result<MovedTensor> moved_tensor(const HfTensor& tensor,
                                   const std::vector<std::vector<MegatronTensor>>& wanted) const {
    MovedTensor moved;
    moved.name = tensor.name;
    std::vector<int64_t> extents = {tensor.n_rows};
    if (!tensor.is_vector) extents.push_back(tensor.n_cols);
    MM2_ASSIGN_OR_RETURN(moved.shape, Shape::make(extents));
    for (const HfTensor::From& from : tensor.from) {
      const auto rank = static_cast<size_t>(from.rank), at = static_cast<size_t>(from.tensor);
      const TensorInfo* const info = found_[rank][at];
      if (moved.moves.empty()) moved.dtype = info->dtype;
      if (info->dtype != moved.dtype) {
        return error(Code::format, tensor.name, ": its parts are ", dtype_name(moved.dtype),
                     " and ", dtype_name(info->dtype));
      }
      moved.moves.push_back({{megatron_.ranks()[rank].source.get(), info, 0, info->dtype},
                             {from.n_rows, from.n_cols, from.row, from.col, wanted[rank][at].n_cols,
                              from.hf_row, from.hf_col, tensor.n_cols}});
    }
    return moved;
  }

  const Megatron& megatron_;
  const MegatronModel& model_;
  const Input& input_;
  std::vector<std::vector<const TensorInfo*>> found_;
  size_t n_expected_ = 0;
};

void add_pieces(const std::vector<MovedTensor>& tensors, WritePlan& plan) {
  for (const MovedTensor& tensor : tensors) {
    const uint32_t to = plan.add(tensor.name, tensor.dtype, tensor.shape);
    const uint64_t bytes = *tensor_bytes(tensor.shape, tensor.dtype);
    const int64_t n_rows = tensor.shape[0], step = moved_slab_rows(tensor);
    const uint64_t row = bytes / static_cast<uint64_t>(n_rows);
    for (int64_t at = 0; at < n_rows; at += step) {
      const int64_t n = std::min(step, n_rows - at);
      Piece piece;
      piece.outputs.push_back(
          {to, row * static_cast<uint64_t>(at), row * static_cast<uint64_t>(n)});
      piece.bytes_read = piece.outputs[0].n;
      piece.scratch = scratch_of(tensor, n);
      piece.run = [&tensor, at, n](PieceRun& run) {
        return carry_out(tensor, at, n, run.outputs[0].data(), run.scratch.data());
      };
      plan.pieces.push_back(std::move(piece));
    }
  }
}

// The configuration must say what the tensors are: FP8 in blocks, or plain.
Result<Json> config_for(const Input& input, bool fp8) {
  Json config = input.config_json;
  const bool says =
      config.contains("quantization_config") && !config["quantization_config"].is_null();
  if (fp8 && !says) {
    return error(Code::format, input.config_folder,
                 "/config.json: it has no quantization_config, and the ranks hold FP8 codes");
  }
  if (!fp8 && says) config.erase("quantization_config");
  return config;
}

}  // namespace

Status run_from_megatron(const Json& json, const Host& host, Json* report) {
  std::vector<std::string_view> own = {"model", "config"};
  own.insert(own.end(), megatron_option_names().begin(), megatron_option_names().end());
  MM2_ASSIGN_OR_RETURN(const WritingVerb verb, WritingVerb::read("from-megatron", json, own, host));
  MM2_ASSIGN_OR_RETURN(const Input input, read_input(verb.reader(), host));
  MegatronModel model = megatron_model(input.config);
  MM2_RETURN_IF_ERROR(check_layout(model, input.options.parallel));
  MM2_ASSIGN_OR_RETURN(const Megatron megatron, Megatron::open(input, host));
  model.fp8_attention = megatron.has_scales("linear_qkv");
  model.fp8_experts = megatron.has_scales("linear_fc1");
  MM2_RETURN_IF_ERROR(check_layout(model, input.options.parallel));
  Assembler assembler(megatron, model, input);
  MM2_ASSIGN_OR_RETURN(const auto tensors, assembler.run());
  size_t n_there = 0;
  for (const RankSource& rank : megatron.ranks()) n_there += rank.by_name.size();
  const size_t n_unknown = n_there - assembler.n_expected();
  if (verb.strict() && n_unknown > 0) {
    return error(Code::check_failed, input.folder, ": ", n_unknown,
                 " tensors are not of this model and layout");
  }

  WritePlan plan;
  plan.inputs.push_back(input.folder);
  if (input.config_folder != input.folder) plan.inputs.push_back(input.config_folder);
  plan.recipe = megatron_options_json(input.options);
  for (const RankSource& rank : megatron.ranks()) {
    plan.parents.push_back({{"file", std::string(rank.source->name().substr(std::min(
                                         rank.source->name().size(), input.folder.size())))},
                            {"tensors", rank.source->tensors().size()}});
  }
  add_pieces(tensors, plan);
  MM2_ASSIGN_OR_RETURN(const Json config,
                       config_for(input, model.fp8_attention || model.fp8_experts));
  plan.files.push_back({"config.json", config_text(config), ""});
  for (const std::string& name : files_taken_along(input.config_folder)) {
    if (std::find(std::begin(kOurs), std::end(kOurs), name) != std::end(kOurs)) continue;
    plan.files.push_back({name, "", join_path(input.config_folder, name)});
  }
  MM2_RETURN_IF_ERROR(verb.write(plan, report));
  (*report)["layout"] = megatron_options_json(input.options);
  if (n_unknown > 0) (*report)["passed_over"] = n_unknown;
  return {};
}

}  // namespace mm2
