#include "format/safetensors.h"

#include <array>
#include <cstring>

#include "tensor/buffer.h"

namespace mm2 {
namespace {

// What the file seems to be when it is no safetensors file; "" when that is not plain to see.
std::string_view guess_kind(std::span<const char, 8> head) {
  const std::string_view text(head.data(), head.size());
  if (text.substr(0, 4) == std::string_view("PK\x03\x04", 4)) {
    return ": it looks like a PyTorch (zip and pickle) file, which is never opened";
  }
  if (text[0] == '\x80' && text[1] >= 2 && text[1] <= 5) {
    return ": it looks like a pickle, which is never opened";
  }
  if (text.substr(0, 4) == "GGUF") return ": it looks like a GGUF file, which is not supported";
  if (text.substr(0, 8) == "version ") {
    return ": it looks like a Git LFS pointer, fetch the file itself";
  }
  return "";
}

uint64_t little_endian_64(std::span<const char, 8> bytes) {
  uint64_t value = 0;
  for (size_t i = 8; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

Result<std::shared_ptr<SafetensorsFile>> SafetensorsFile::open(const std::string& path,
                                                               const Host& host) {
  std::shared_ptr<SafetensorsFile> opened(new SafetensorsFile);
  opened->path_ = path;
  MM2_ASSIGN_OR_RETURN(opened->file_, host.source->open(path));
  const uint64_t size = opened->file_->size();
  std::array<char, 8> head{};
  if (size < head.size()) {
    return error(
        Code::format, path, ": ", size,
        " bytes are too small for a safetensors file, which starts with a length of 8 bytes");
  }
  MM2_RETURN_IF_ERROR(opened->file_->read_at(0, head.data(), head.size()));
  const uint64_t length = little_endian_64(head);
  const std::string_view kind = guess_kind(head);
  if (length > size - head.size()) {
    return error(Code::format, path, ": the header length ", length,
                 " is larger than the file size ", size, " allows", kind);
  }
  if (length > kMaxHeader) {
    return error(Code::format, path, ": the header length ", length, " is above the limit of ",
                 kMaxHeader, " bytes", kind);
  }
  // A header of another file type is told from its first byte, before memory is taken for all of
  // it.
  char first = 0;
  if (length > 0) MM2_RETURN_IF_ERROR(opened->file_->read_at(head.size(), &first, 1));
  const uint64_t data_begin = head.size() + length;
  if (first != '{') {
    return parse_safetensors_header({&first, length > 0 ? 1u : 0u}, data_begin, 0, path).status();
  }
  MM2_ASSIGN_OR_RETURN(Buffer json, Buffer::make(host.allocator, length));
  MM2_RETURN_IF_ERROR(opened->file_->read_at(head.size(), json.data(), length));
  MM2_ASSIGN_OR_RETURN(
      opened->header_,
      parse_safetensors_header({json.as<char>(), length}, data_begin, size - data_begin, path));
  const std::vector<TensorInfo>& tensors = opened->header_.tensors;
  opened->by_name_.reserve(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) opened->by_name_.emplace(tensors[i].name, i);
  return opened;
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &header_.tensors[found->second];
}

Status SafetensorsFile::read(const TensorInfo& tensor, uint64_t from, size_t n, void* to) const {
  if (from > tensor.bytes || n > tensor.bytes - from) {
    return error(Code::invalid_argument, path_, ": tensor ", tensor.name, ": bytes ", from, "..",
                 from + n, " were asked for, it has ", tensor.bytes);
  }
  if (n == 0) return {};
  return file_->read_at(tensor.offset + from, to, n);
}

const std::byte* SafetensorsFile::map(const TensorInfo& tensor) const {
  const std::byte* base = file_->map();
  return base == nullptr ? nullptr : base + tensor.offset;
}

void SafetensorsFile::bring(const TensorInfo& tensor, uint64_t from, uint64_t n) const {
  if (from <= tensor.bytes && n <= tensor.bytes - from) file_->bring(tensor.offset + from, n);
}

void SafetensorsFile::let_go(const TensorInfo& tensor, uint64_t from, uint64_t n) const {
  if (from <= tensor.bytes && n <= tensor.bytes - from) file_->let_go(tensor.offset + from, n);
}

}  // namespace mm2
