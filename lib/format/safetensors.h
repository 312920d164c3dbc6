// One safetensors file: u64 length, JSON header, tensor data. The reader is strict; see `open`.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/host.h"
#include "tensor/source.h"

namespace mm2 {

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // by offset; offset counts from the start of the file
  std::vector<std::pair<std::string, std::string>> metadata;  // __metadata__ in file order
};

/// Parses the JSON of a header whose data section starts at `data_begin` and has `data_bytes`
/// bytes; `file` is for messages. Refused (Code::format): anything but one object starting with '{'
/// and followed by spaces only, duplicate keys (also when spelled with escapes), invalid UTF-8,
/// depth above 64, more than a million tensors, unknown types, shapes and offsets that are not
/// whole numbers or whose products overflow, sizes that do not fit dtype and shape, overlaps,
/// holes, data past the end, unused bytes. Unknown fields of a tensor are checked as JSON and
/// ignored, as other readers do.
Result<SafetensorsHeader> parse_safetensors_header(std::string_view json, uint64_t data_begin,
                                                   uint64_t data_bytes, std::string_view file);

class SafetensorsFile final : public TensorSource {
 public:
  static constexpr uint64_t kMaxHeader = 100'000'000;
  static constexpr size_t kMaxTensors = 1'000'000;

  /// Reads and checks the header (by read calls, never through a mapping). Memory beyond the
  /// header's own length is taken only for tensors that it really lists.
  static Result<std::shared_ptr<SafetensorsFile>> open(const std::string& path, const Host& host);

  const std::string& path() const { return path_; }
  uint64_t size() const { return file_->size(); }
  const std::vector<std::pair<std::string, std::string>>& metadata() const {
    return header_.metadata;
  }

  std::span<const TensorInfo> tensors() const override { return header_.tensors; }
  const TensorInfo* find(std::string_view name) const override;
  Status read(const TensorInfo& tensor, uint64_t from, size_t n, void* to) const override;
  const std::byte* map(const TensorInfo& tensor) const override;
  void bring(const TensorInfo& tensor, uint64_t from, uint64_t n) const override;
  void let_go(const TensorInfo& tensor, uint64_t from, uint64_t n) const override;
  std::string_view file_of(const TensorInfo&) const override { return path_; }
  std::string_view name() const override { return path_; }

 private:
  SafetensorsFile() = default;

  std::string path_;
  std::shared_ptr<SourceFile> file_;
  SafetensorsHeader header_;
  absl::flat_hash_map<std::string_view, size_t> by_name_;
};

}  // namespace mm2
