// Files that appear whole or not at all: written under a temporary name in the same folder, synced,
// renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace mm2 {

/// One file under construction. Whatever happens before publish() (failure, destruction) leaves
/// nothing behind.
class AtomicFile {
 public:
  /// Takes a temporary file beside `path`. Code::io with the system's words; a full disk says how
  /// much was to be written.
  static Result<std::unique_ptr<AtomicFile>> create(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  Status append(const void* data, size_t n);
  /// fsync, rename to `path` (replacing what was there), fsync of the folder. The object is used
  /// up.
  Status publish();
  uint64_t written() const { return written_; }

 private:
  AtomicFile() = default;
  Status failed(const std::string& doing, int error_number);
  void discard();

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
  uint64_t written_ = 0;
};

Status write_text_file(const std::string& path, std::string_view text);

struct OutputTensor {
  std::string name;
  Dtype dtype = Dtype::f32;
  Shape shape;
};
using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

/// What a safetensors file with these tensors, one after the other without gaps, begins with: length
/// and header, padded to a multiple of 64 bytes; the data follows at once. `path` is for messages.
/// Duplicate names, names that are not UTF-8, sizes that overflow: Code::invalid_argument.
Result<std::string> safetensors_head(const std::string& path, std::span<const OutputTensor> tensors,
                                     const SafetensorsMetadata& metadata = {});

/// Writes a safetensors file tensor by tensor: all sizes are known first, so the header goes out at
/// once and data streams after it.
class SafetensorsWriter {
 public:
  using Tensor = OutputTensor;
  using Metadata = SafetensorsMetadata;

  /// Errors as of safetensors_head and AtomicFile::create.
  static Result<std::unique_ptr<SafetensorsWriter>> create(const std::string& path,
                                                           std::vector<Tensor> tensors,
                                                           const Metadata& metadata = {});
  /// The next bytes of the data section: tensors in the given order, without gaps, in pieces of any
  /// size. More than the tensors need is Code::invalid_argument.
  Status append(const void* data, size_t n);
  /// Code::invalid_argument while bytes are missing; then as AtomicFile::publish.
  Status publish();

 private:
  SafetensorsWriter() = default;

  std::string path_;
  std::unique_ptr<AtomicFile> file_;
  uint64_t expected_ = 0;
  uint64_t appended_ = 0;
};

}  // namespace mm2
