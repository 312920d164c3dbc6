#include "format/checkpoint.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "base/checked.h"
#include "format/json_reader.h"

namespace mm2 {
namespace {

constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kSingleName = "model.safetensors";
constexpr uint64_t kMaxIndex = 256'000'000;

struct Index {
  std::vector<std::string> shards;  // in order of their names
  absl::flat_hash_map<std::string, std::string> shard_of;
  std::optional<int64_t> total_size;
};

// A shard lies in the folder of its index and nowhere else.
bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name.find("..") == name.npos &&
         name.find_first_of(std::string_view("/\\:\0", 4)) == name.npos;
}

bool has_pickle_suffix(std::string_view name) {
  for (const std::string_view suffix : {".bin", ".pt", ".pth", ".pkl", ".ckpt"}) {
    if (absl::EndsWithIgnoreCase(as_piece(name), as_piece(suffix))) return true;
  }
  return false;
}

Status refuse_pickle(std::string_view path) {
  return error(
      Code::unsupported, path,
      ": pickled weights (.bin, .pt, .pth, .pkl, .ckpt) are never opened, because reading them "
      "can run code; convert the checkpoint to safetensors");
}

Status read_weight_map(JsonReader& reader, const std::string& file, Index& index) {
  std::string tensor, shard;
  reader.begin_object("weight_map");
  while (reader.next_key(tensor)) {
    reader.set_subject("weight_map: tensor", tensor);
    if (!reader.read_string(shard, "the shard's name")) break;
    if (!is_plain_file_name(shard)) {
      return error(Code::format, file, ": weight_map sends tensor ", tensor, " to ", quoted(shard),
                   ": a shard must be a plain file name in the same folder");
    }
    if (has_pickle_suffix(shard)) return refuse_pickle(join(file, ": shard ", shard));
    if (index.shard_of.size() == SafetensorsFile::kMaxTensors) {
      return error(Code::format, file, ": weight_map has more than ", SafetensorsFile::kMaxTensors,
                   " tensors");
    }
    if (!index.shard_of.emplace(tensor, shard).second) {
      reader.fail("duplicate key: the tensor appears twice");
      break;
    }
    reader.set_subject("", "");
  }
  return reader.status();
}

// metadata: only total_size is of interest; writers disagree about it and about the rest.
Status read_index_metadata(JsonReader& reader, Index& index) {
  std::string key;
  reader.begin_object("metadata");
  while (reader.next_key(key)) {
    std::string_view spelling;
    if (key == "total_size" && reader.read_number(spelling, "total_size")) {
      int64_t value = 0;
      if (absl::SimpleAtoi(as_piece(spelling), &value)) index.total_size = value;
    } else if (key != "total_size") {
      reader.skip_value();
    }
  }
  return reader.status();
}

Result<Index> parse_index(std::string_view text, const std::string& file) {
  Index index;
  JsonReader reader(text, file);
  std::string key;
  bool has_map = false, has_metadata = false;
  reader.begin_object("the index");
  while (reader.next_key(key)) {
    if ((key == "weight_map" && has_map) || (key == "metadata" && has_metadata)) {
      reader.fail(join("duplicate key \"", key, "\""));
    } else if (key == "weight_map") {
      has_map = true;
      MM2_RETURN_IF_ERROR(read_weight_map(reader, file, index));
    } else if (key == "metadata") {
      has_metadata = true;
      MM2_RETURN_IF_ERROR(read_index_metadata(reader, index));
    } else {
      reader.skip_value();
    }
  }
  if (!reader.at_end()) return reader.status();
  if (!has_map) return error(Code::format, file, ": no weight_map");
  if (index.shard_of.empty()) return error(Code::format, file, ": weight_map is empty");
  for (const auto& [tensor, shard] : index.shard_of) index.shards.push_back(shard);
  std::sort(index.shards.begin(), index.shards.end());
  index.shards.erase(std::unique(index.shards.begin(), index.shards.end()), index.shards.end());
  return index;
}

Status open_shards(const std::string& folder, const std::vector<std::string>& names,
                   const Host& host, std::vector<std::shared_ptr<SafetensorsFile>>& shards) {
  for (const std::string& name : names) {
    if (host.progress && !host.progress({kStageOpen, shards.size(), names.size(), name})) {
      return error(Code::cancelled, "opening ", join_path(folder, name), ": cancelled by the host");
    }
    MM2_ASSIGN_OR_RETURN(std::shared_ptr<SafetensorsFile> shard,
                         SafetensorsFile::open(join_path(folder, name), host));
    shards.push_back(std::move(shard));
  }
  return {};
}

// Every tensor of the index is in the shard that it names.
Status check_index(const Index& index, const std::string& file,
                   std::span<const std::shared_ptr<SafetensorsFile>> shards) {
  absl::flat_hash_map<std::string_view, const SafetensorsFile*> by_name;
  for (size_t i = 0; i < shards.size(); ++i) by_name[index.shards[i]] = shards[i].get();
  // The first in order of names, so that the message does not depend on a hash.
  std::string_view worst;
  size_t n_wrong = 0;
  for (const auto& [tensor, shard] : index.shard_of) {
    if (by_name.find(shard)->second->find(tensor) != nullptr) continue;
    ++n_wrong;
    if (worst.empty() || tensor < worst) worst = tensor;
  }
  if (n_wrong == 0) return {};
  return error(Code::format, file, ": weight_map sends tensor ", worst, " to ",
               index.shard_of.find(as_piece(worst))->second, ", which does not hold it",
               n_wrong > 1 ? join(" (and ", n_wrong - 1, " more like it)") : std::string());
}

// Folder and file name of a path.
std::pair<std::string, std::string> split_path(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == path.npos) return {"", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

// Which file of a folder to start from: its index, else the single file.
Result<std::string> entry_of_folder(const std::string& folder, const Host& host) {
  for (const std::string_view name : {kIndexName, kSingleName}) {
    const auto file = host.source->open(join_path(folder, std::string(name)));
    if (file.ok()) return std::string(name);
    if (file.status().code() != Code::not_found) return file.status();
  }
  for (const std::string_view name :
       {"pytorch_model.bin.index.json", "pytorch_model.bin", "model.bin", "model.pt", "model.pth",
        "model.pkl", "consolidated.00.pth", "pytorch_model-00001-of-00001.bin"}) {
    const std::string path = join_path(folder, std::string(name));
    if (host.source->open(path).ok()) return refuse_pickle(path);
  }
  return error(Code::not_found, folder, ": neither ", kIndexName, " nor ", kSingleName,
               " is there");
}

}  // namespace

std::string join_path(const std::string& folder, const std::string& name) {
  if (folder.empty()) return name;
  return folder.back() == '/' ? folder + name : join(folder, "/", name);
}

Result<std::shared_ptr<Checkpoint>> Checkpoint::open(const std::string& path, const Host& host) {
  if (path.empty()) return error(Code::invalid_argument, "opening a checkpoint: the path is empty");
  std::shared_ptr<Checkpoint> opened(new Checkpoint);
  opened->path_ = path;
  if (has_pickle_suffix(path)) return refuse_pickle(path);
  if (path.ends_with(".gguf")) {
    return error(Code::unsupported, path, ": GGUF files are not supported, only safetensors");
  }
  std::string entry;
  if (path.ends_with(".safetensors") || path.ends_with(".json")) {
    std::tie(opened->folder_, entry) = split_path(path);
  } else {
    opened->folder_ = path;
    while (opened->folder_.size() > 1 && opened->folder_.back() == '/') opened->folder_.pop_back();
    MM2_ASSIGN_OR_RETURN(entry, entry_of_folder(opened->folder_, host));
  }

  Index index;
  const std::string entry_path = join_path(opened->folder_, entry);
  if (entry.ends_with(".json")) {
    opened->index_name_ = entry;
    MM2_ASSIGN_OR_RETURN(const std::string text, read_all(*host.source, entry_path, kMaxIndex));
    MM2_ASSIGN_OR_RETURN(index, parse_index(text, entry_path));
  } else {
    index.shards = {entry};
  }
  MM2_RETURN_IF_ERROR(open_shards(opened->folder_, index.shards, host, opened->shards_));
  if (!opened->index_name_.empty()) {
    MM2_RETURN_IF_ERROR(check_index(index, entry_path, opened->shards_));
  }
  MM2_RETURN_IF_ERROR(opened->collect());

  if (index.total_size && static_cast<uint64_t>(*index.total_size) != opened->tensor_bytes()) {
    host.log.write(LogLevel::warning, "format", entry_path, ": total_size is ", *index.total_size,
                   ", the tensors have ", opened->tensor_bytes(), " bytes; ignored");
  }
  const size_t n_listed = index.shard_of.size();
  if (n_listed != 0 && n_listed < opened->tensors_.size()) {
    host.log.write(LogLevel::warning, "format", entry_path, ": the shards hold ",
                   opened->tensors_.size(), " tensors, the index lists ", n_listed);
  }
  return opened;
}

Status Checkpoint::collect() {
  size_t n = 0;
  for (const auto& shard : shards_) n += shard->tensors().size();
  tensors_.reserve(n);
  by_name_.reserve(n);
  for (size_t s = 0; s < shards_.size(); ++s) {
    for (const TensorInfo& tensor : shards_[s]->tensors()) {
      const size_t place = tensors_.size();
      tensors_.push_back(tensor);
      tensors_.back().shard = static_cast<int32_t>(s);
      const auto [other, is_new] = by_name_.emplace(tensors_.back().name, place);
      if (!is_new) {
        return error(Code::format, "tensor ", tensor.name,
                     " is in two shards: ", file_of(tensors_[other->second]), " and ",
                     shards_[s]->path());
      }
    }
  }
  return {};
}

uint64_t Checkpoint::tensor_bytes() const {
  uint64_t sum = 0;
  for (const TensorInfo& tensor : tensors_) sum += tensor.bytes;
  return sum;
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

Status Checkpoint::read(const TensorInfo& tensor, uint64_t from, size_t n, void* to) const {
  return shards_[static_cast<size_t>(tensor.shard)]->read(tensor, from, n, to);
}

const std::byte* Checkpoint::map(const TensorInfo& tensor) const {
  return shards_[static_cast<size_t>(tensor.shard)]->map(tensor);
}

void Checkpoint::bring(const TensorInfo& tensor, uint64_t from, uint64_t n) const {
  shards_[static_cast<size_t>(tensor.shard)]->bring(tensor, from, n);
}

void Checkpoint::let_go(const TensorInfo& tensor, uint64_t from, uint64_t n) const {
  shards_[static_cast<size_t>(tensor.shard)]->let_go(tensor, from, n);
}

std::string_view Checkpoint::file_of(const TensorInfo& tensor) const {
  return shards_[static_cast<size_t>(tensor.shard)]->path();
}

}  // namespace mm2
