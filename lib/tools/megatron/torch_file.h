// Tensors of a file that torch.save wrote, archive or old format, without running anything in it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/host.h"
#include "base/json.h"
#include "tensor/source.h"

namespace mm2 {

/// Names are the ways to a tensor through dicts, lists and tuples, joined by dots ("model.layers.0.w").
/// Reading gives dense row-major bytes, whatever the strides in the file.
class TorchFile final : public TensorSource {
 public:
  /// Reads the pickle and checks every tensor against the storage that it lies in. No tensor's data is
  /// read, and memory is taken only for what the pickle holds. Code::format: broken files, storages
  /// that are missing or too short, sizes that overflow, trees deeper than 64 or larger than 4 million;
  /// Code::unsupported: classes that are not a checkpoint's (see pickle.h), big-endian files, quantised
  /// or complex tensors. The sentence begins with `name`.
  static Result<std::shared_ptr<TorchFile>> open(std::shared_ptr<SourceFile> file,
                                                 const std::string& name);

  std::span<const TensorInfo> tensors() const override { return tensors_; }
  const TensorInfo* find(std::string_view name) const override;
  Status read(const TensorInfo& tensor, uint64_t from, size_t n, void* to) const override;
  const std::byte* map(const TensorInfo&) const override { return nullptr; }
  std::string_view file_of(const TensorInfo&) const override { return name_; }
  std::string_view name() const override { return name_; }

  /// Numbers, text and truth values on the way, those of an argparse.Namespace too, by their names.
  const std::vector<std::pair<std::string, Json>>& scalars() const { return scalars_; }
  /// Objects that stay closed: the way to each and the name of its class.
  const std::vector<std::pair<std::string, std::string>>& opaque() const { return opaque_; }

 private:
  friend class TorchFileReader;
  struct Strided {
    uint64_t storage = 0;          // first byte of its storage in the file
    int64_t first = 0;             // element of the storage
    std::vector<int64_t> strides;  // in elements; empty: dense
  };
  TorchFile() = default;
  Status read_strided(const TensorInfo& tensor, const Strided& strided, uint64_t from, size_t n,
                      char* to) const;

  std::string name_;
  std::shared_ptr<SourceFile> file_;
  std::vector<TensorInfo> tensors_;
  std::vector<Strided> places_;  // as tensors_
  absl::flat_hash_map<std::string, size_t> by_name_;
  std::vector<std::pair<std::string, Json>> scalars_;
  std::vector<std::pair<std::string, std::string>> opaque_;
};

}  // namespace mm2
