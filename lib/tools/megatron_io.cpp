#include "tools/megatron_io.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace mm2 {
namespace {

constexpr std::string_view kScale = "_scale_inv";
constexpr uint64_t kSlab = 8 << 20;

bool is_attention_matrix(Role role) {
  return role >= Role::q_proj && role <= Role::o_proj;
}
bool is_expert_matrix(Role role) {
  return role >= Role::w1;
}

uint64_t width_of(Dtype dtype) {
  return static_cast<uint64_t>(dtype_bits(dtype)) / 8;
}

}  // namespace

std::span<const std::string_view> megatron_option_names() {
  static constexpr std::array<std::string_view, 10> kNames = {
      "tp",           "pp",          "ep",        "etp",   "vpp",
      "first_layers", "last_layers", "pad_vocab", "names", "format"};
  return kNames;
}

Status read_megatron_options(const OptionReader& reader, MegatronOptions& to) {
  ParallelShape& p = to.parallel;
  const std::pair<const char*, int32_t*> numbers[] = {{"tp", &p.tp},   {"pp", &p.pp},
                                                      {"ep", &p.ep},   {"etp", &p.etp},
                                                      {"vpp", &p.vpp}, {"pad_vocab", &p.pad_vocab}};
  for (const auto& [name, value] : numbers) {
    MM2_RETURN_IF_ERROR(reader.integer(name, 1, 65536, *value));
  }
  MM2_RETURN_IF_ERROR(reader.integer("first_layers", -1, 65536, p.first_layers));
  MM2_RETURN_IF_ERROR(reader.integer("last_layers", -1, 65536, p.last_layers));
  static constexpr std::string_view kSpellings[] = {"slime", "bridge"};
  static constexpr std::string_view kFormats[] = {"torch", "safetensors"};
  std::string names = to.names == MegatronNames::bridge ? "bridge" : "slime";
  MM2_RETURN_IF_ERROR(reader.word("names", kSpellings, names));
  std::string format;
  MM2_RETURN_IF_ERROR(reader.text("format", format));
  if (format == "dist" || format == "torch_dist" || format == "zarr") {
    return error(
        Code::unsupported, "format ", format,
        ": a folder that several ranks wrote together, described by a pickle of Megatron's "
        "own classes; mm2 reads and writes torch and safetensors: Megatron itself saves as "
        "torch with --ckpt-format torch");
  }
  MM2_RETURN_IF_ERROR(reader.word("format", kFormats, to.format));
  to.names = names == "bridge" ? MegatronNames::bridge : MegatronNames::slime;
  return {};
}

Json megatron_options_json(const MegatronOptions& options) {
  const ParallelShape& p = options.parallel;
  return {{"tp", p.tp},
          {"pp", p.pp},
          {"ep", p.ep},
          {"etp", p.etp},
          {"vpp", p.vpp},
          {"first_layers", p.first_layers},
          {"last_layers", p.last_layers},
          {"pad_vocab", p.pad_vocab},
          {"names", options.names == MegatronNames::bridge ? "bridge" : "slime"},
          {"format", options.format}};
}

MegatronModel megatron_model(const ModelConfig& config) {
  MegatronModel model;
  model.n_layers = config.n_layers;
  model.hidden = config.hidden;
  model.n_heads = config.n_heads;
  model.n_kv_heads = config.n_kv_heads;
  model.head_dim = config.head_dim;
  model.n_experts = config.n_experts;
  model.intermediate = config.intermediate;
  model.n_vocab = config.n_vocab;
  model.tied = config.tie_word_embeddings;
  return model;
}

Result<HfSource> HfSource::open(const CheckpointView& view) {
  HfSource source;
  source.model_ = megatron_model(view.config());
  for (const ViewWeight& weight : view.weights()) {
    const bool fp8 = !weight.description.is_plain();
    const Role role = weight.place.role;
    if (is_attention_matrix(role)) source.model_.fp8_attention |= fp8;
    if (is_expert_matrix(role)) source.model_.fp8_experts |= fp8;
  }
  for (const ViewWeight& weight : view.weights()) MM2_RETURN_IF_ERROR(source.add(view, weight));
  return source;
}

Status HfSource::add(const CheckpointView& view, const ViewWeight& weight) {
  const WeightPlace& place = weight.place;
  const WeightDescription& description = weight.description;
  const bool wants_fp8 = (is_attention_matrix(place.role) && model_.fp8_attention) ||
                         (is_expert_matrix(place.role) && model_.fp8_experts);
  if (description.is_plain()) {
    if (wants_fp8) {
      return error(Code::unsupported, place.name, " is ", description.to_string(),
                   " where others of its kind are quantised");
    }
    MM2_ASSIGN_OR_RETURN(const PlainSlice slice, plain_slice(place, description, view.source()));
    by_name_[place.name] = {&view.source(), slice.tensor, slice.from, slice.dtype};
    return {};
  }
  const TensorInfo* scale = description.part(PartKind::scale);
  const bool blocks = description.scheme->id == "fp8_block" && scale != nullptr &&
                      scale->dtype == Dtype::f32 && description.scale_rows == 128 &&
                      description.scale_cols == 128;
  if (!blocks || !wants_fp8) {
    return error(Code::unsupported, place.name, " is ", description.to_string(),
                 "; Megatron gets plain weights, or FP8 in blocks of 128 x 128 with F32 scales");
  }
  by_name_[place.name] = {&view.source(), &description.codes(), 0, description.dtype()};
  by_name_[join(place.name, kScale)] = {&view.source(), scale, 0, scale->dtype};
  return {};
}

const MatrixBytes* HfSource::find(std::string_view name) const {
  const auto found = by_name_.find(as_piece(name));
  return found == by_name_.end() ? nullptr : &found->second;
}

Result<std::vector<MovedTensor>> moved_tensors(const HfSource& source,
                                               const std::vector<MegatronTensor>& tensors) {
  std::vector<MovedTensor> all;
  for (const MegatronTensor& tensor : tensors) {
    MovedTensor moved;
    moved.name = tensor.name;
    std::vector<int64_t> extents = {tensor.n_rows};
    if (!tensor.is_vector) extents.push_back(tensor.n_cols);
    MM2_ASSIGN_OR_RETURN(moved.shape, Shape::make(extents));
    // A rank of nothing but padding has the type of the whole.
    const bool embedding = tensor.name.starts_with("embedding.");
    const MatrixBytes* typed = source.find(embedding              ? "model.embed_tokens.weight"
                                           : tensor.moves.empty() ? "lm_head.weight"
                                                                  : tensor.moves.front().hf);
    if (typed == nullptr) return error(Code::internal, tensor.name, " has no source");
    moved.dtype = typed->dtype;
    for (const BlockMove& move : tensor.moves) {
      const MatrixBytes* from = source.find(move.hf);
      if (from == nullptr) return error(Code::internal, "there is no ", move.hf);
      if (from->dtype != moved.dtype) {
        return error(Code::format, move.hf, " is ", dtype_name(from->dtype),
                     ", and what stands with it in ", tensor.name, " is ", dtype_name(moved.dtype));
      }
      moved.moves.push_back({*from,
                             {move.n_rows, move.n_cols, move.hf_row, move.hf_col, move.hf_cols,
                              move.row, move.col, tensor.n_cols}});
    }
    all.push_back(std::move(moved));
  }
  return all;
}

uint64_t scratch_of(const MovedTensor& tensor, int64_t n_rows) {
  uint64_t most = 0;
  for (const MatrixMove& move : tensor.moves) {
    const Rectangle& r = move.rectangle;
    if (r.n_cols == r.from_width && r.n_cols == r.to_width) continue;
    most = std::max(most, static_cast<uint64_t>(std::min(n_rows, r.n_rows) * r.from_width) *
                              width_of(tensor.dtype));
  }
  return most;
}

Status carry_out(const MovedTensor& tensor, int64_t first_row, int64_t n_rows, std::byte* to,
                 std::byte* scratch) {
  const uint64_t width = width_of(tensor.dtype);
  const auto row_bytes =
      static_cast<uint64_t>(tensor.shape.rank() == 1 ? 1 : tensor.shape[1]) * width;
  std::memset(to, 0, static_cast<size_t>(static_cast<uint64_t>(n_rows) * row_bytes));
  for (const MatrixMove& move : tensor.moves) {
    Rectangle r = move.rectangle;
    const int64_t begin = std::max(first_row, r.to_row);
    const int64_t end = std::min(first_row + n_rows, r.to_row + r.n_rows);
    if (begin >= end) continue;
    r.from_row += begin - r.to_row;
    r.to_row = begin - first_row;
    r.n_rows = end - begin;
    const MatrixBytes& from = move.from;
    if (r.n_cols == r.from_width && r.n_cols == r.to_width) {
      MM2_RETURN_IF_ERROR(
          from.source->read(*from.tensor, from.from + static_cast<uint64_t>(r.from_row) * row_bytes,
                            static_cast<size_t>(static_cast<uint64_t>(r.n_rows) * row_bytes),
                            to + static_cast<uint64_t>(r.to_row) * row_bytes));
      continue;
    }
    // Whole rows in one read; columns are picked in memory.
    const uint64_t source_row = static_cast<uint64_t>(r.from_width) * width;
    MM2_RETURN_IF_ERROR(from.source->read(
        *from.tensor, from.from + static_cast<uint64_t>(r.from_row) * source_row,
        static_cast<size_t>(static_cast<uint64_t>(r.n_rows) * source_row), scratch));
    r.from_row = 0;
    for_each_run(r, static_cast<int64_t>(width), [&](uint64_t at, uint64_t put, uint64_t n) {
      std::memcpy(to + put, scratch + at, static_cast<size_t>(n));
    });
  }
  return {};
}

int64_t moved_slab_rows(const MovedTensor& tensor) {
  const auto row = static_cast<uint64_t>(tensor.shape.rank() == 1 ? 1 : tensor.shape[1]) *
                       width_of(tensor.dtype) +
                   scratch_of(tensor, 1);
  return static_cast<int64_t>(std::max<uint64_t>(1, kSlab / std::max<uint64_t>(1, row)));
}

}  // namespace mm2
