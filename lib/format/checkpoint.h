// A checkpoint: the shards that an index names, or a single safetensors file, as one set of named
// tensors.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/host.h"
#include "format/safetensors.h"
#include "tensor/source.h"

namespace mm2 {

class Checkpoint final : public TensorSource {
 public:
  /// `path`: a folder (its model.safetensors.index.json, else its model.safetensors), an index
  /// file, or a .safetensors file. Every shard's header is read and checked; no weight is. Errors:
  /// not_found (nothing there, a shard missing), format (anything wrong in a header or the index:
  /// the sentence names file, tensor and number), unsupported (only pickled weights: never opened),
  /// cancelled (host.progress said so). A wrong total_size is only logged.
  static Result<std::shared_ptr<Checkpoint>> open(const std::string& path, const Host& host);

  /// The folder, "" for the current one, without a slash at its end.
  const std::string& folder() const { return folder_; }
  std::span<const std::shared_ptr<SafetensorsFile>> shards() const { return shards_; }
  /// The index's file name; empty when there is none.
  const std::string& index_name() const { return index_name_; }
  /// Sum over all tensors.
  uint64_t tensor_bytes() const;

  /// By shard, then by offset. TensorInfo::shard is the place in shards().
  std::span<const TensorInfo> tensors() const override { return tensors_; }
  const TensorInfo* find(std::string_view name) const override;
  Status read(const TensorInfo& tensor, uint64_t from, size_t n, void* to) const override;
  const std::byte* map(const TensorInfo& tensor) const override;
  void bring(const TensorInfo& tensor, uint64_t from, uint64_t n) const override;
  void let_go(const TensorInfo& tensor, uint64_t from, uint64_t n) const override;
  std::string_view file_of(const TensorInfo& tensor) const override;
  std::string_view name() const override { return path_; }

 private:
  Checkpoint() = default;
  Status collect();

  std::string path_;
  std::string folder_;
  std::string index_name_;
  std::vector<std::shared_ptr<SafetensorsFile>> shards_;
  std::vector<TensorInfo> tensors_;
  absl::flat_hash_map<std::string_view, size_t> by_name_;
};

/// "folder/name", or `name` alone for the folder "".
std::string join_path(const std::string& folder, const std::string& name);

}  // namespace mm2
