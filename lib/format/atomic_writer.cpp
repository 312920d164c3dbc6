#include "format/atomic_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/container/flat_hash_set.h"
#include "base/checked.h"
#include "base/json.h"

namespace mm2 {
namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == path.npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Result<std::unique_ptr<AtomicFile>> AtomicFile::create(const std::string& path) {
  if (path.empty() || path.back() == '/' || path.find('\0') != path.npos) {
    return error(Code::invalid_argument, "writing \"", path, "\": not a file name");
  }
  std::unique_ptr<AtomicFile> file(new AtomicFile);
  file->path_ = path;
  file->temporary_ = path + ".tmp-XXXXXX";
  file->descriptor_ = mkostemp(file->temporary_.data(), O_CLOEXEC);
  if (file->descriptor_ < 0) {
    const int reason = errno;
    file->temporary_.clear();
    return errno_error("writing " + path + ": making a temporary file beside it", reason);
  }
  // mkostemp makes files that only their owner may read; the result is an ordinary file.
  if (fchmod(file->descriptor_, 0644) != 0) return file->failed("setting its mode", errno);
  return file;
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::discard() {
  if (descriptor_ >= 0) close(descriptor_);
  descriptor_ = -1;
  if (!temporary_.empty()) unlink(temporary_.c_str());
  temporary_.clear();
}

Status AtomicFile::failed(const std::string& doing, int error_number) {
  const std::string what = join("writing ", path_, ": ", doing);
  const uint64_t written = written_;
  discard();
  if (error_number == ENOSPC || error_number == EDQUOT) {
    return error(Code::io, what, ": no space left in ", folder_of(path_), " after ", written,
                 " bytes; nothing was left behind")
        .with_native(Domain::system_errno, error_number);
  }
  return errno_error(what, error_number);
}

Status AtomicFile::append(const void* data, size_t n) {
  if (descriptor_ < 0) {
    return error(Code::invalid_argument, "writing ", path_,
                 ": the file is published or has failed");
  }
  const auto* from = static_cast<const char*>(data);
  while (n > 0) {
    const ssize_t put = write(descriptor_, from, n);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failed(join("at byte ", written_), errno);
    from += put;
    n -= static_cast<size_t>(put);
    written_ += static_cast<uint64_t>(put);
  }
  return {};
}

Status AtomicFile::publish() {
  if (descriptor_ < 0) {
    return error(Code::invalid_argument, "writing ", path_,
                 ": the file is published or has failed");
  }
  if (fsync(descriptor_) != 0) return failed("syncing", errno);
  const int closed = close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) return failed("closing", errno);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) return failed("renaming", errno);
  temporary_.clear();
  // The name itself must survive a crash too. Some file systems cannot sync a folder; the file is
  // whole all the same.
  const int folder = open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    (void)fsync(folder);
    close(folder);
  }
  return {};
}

Status write_text_file(const std::string& path, std::string_view text) {
  MM2_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFile> file, AtomicFile::create(path));
  MM2_RETURN_IF_ERROR(file->append(text.data(), text.size()));
  return file->publish();
}

Result<std::string> safetensors_head(const std::string& path, std::span<const OutputTensor> tensors,
                                     const SafetensorsMetadata& metadata) {
  Json header = Json::object();
  auto& members = static_cast<Json::object_t::Container&>(header.get_ref<Json::object_t&>());
  if (!metadata.empty()) {
    Json texts = Json::object();
    for (const auto& [key, value] : metadata) texts[key] = value;
    members.emplace_back("__metadata__", std::move(texts));
  }
  absl::flat_hash_set<std::string_view> names = {"__metadata__"};
  uint64_t end = 0;
  for (const OutputTensor& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      return error(Code::invalid_argument, "writing ", path, ": two tensors are called ",
                   tensor.name);
    }
    const std::optional<uint64_t> bytes = tensor_bytes(tensor.shape, tensor.dtype);
    const std::optional<uint64_t> next = bytes ? checked_add(end, *bytes) : std::nullopt;
    if (!next || *next > uint64_t{INT64_MAX}) {
      return error(Code::invalid_argument, "writing ", path, ": tensor ", tensor.name, ": shape ",
                   tensor.shape.to_string(), " of ", dtype_name(tensor.dtype),
                   " is no whole number of bytes or too large");
    }
    Json entry = Json::object();
    entry["dtype"] = std::string(dtype_name(tensor.dtype));
    entry["shape"] = Json::array();
    for (const int64_t extent : tensor.shape.extents()) entry["shape"].push_back(extent);
    entry["data_offsets"] = {end, *next};
    members.emplace_back(tensor.name, std::move(entry));
    end = *next;
  }
  // Names that are not UTF-8 would need a replacement character, that is another name.
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.find("\xEF\xBF\xBD") != text.npos) {
    return error(Code::invalid_argument, "writing ", path, ": a name is not valid UTF-8");
  }
  constexpr size_t kLengthField = 8, kAlignment = 64;
  text.resize(round_up(text.size() + kLengthField, kAlignment) - kLengthField, ' ');

  std::string head;
  head.reserve(kLengthField + text.size());
  for (size_t i = 0; i < kLengthField; ++i) {
    head.push_back(static_cast<char>(uint64_t{text.size()} >> (8 * i)));
  }
  return head + text;
}

Result<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::create(const std::string& path,
                                                                     std::vector<Tensor> tensors,
                                                                     const Metadata& metadata) {
  MM2_ASSIGN_OR_RETURN(const std::string head, safetensors_head(path, tensors, metadata));
  std::unique_ptr<SafetensorsWriter> writer(new SafetensorsWriter);
  writer->path_ = path;
  for (const Tensor& tensor : tensors) {
    writer->expected_ += *tensor_bytes(tensor.shape, tensor.dtype);
  }
  MM2_ASSIGN_OR_RETURN(writer->file_, AtomicFile::create(path));
  MM2_RETURN_IF_ERROR(writer->file_->append(head.data(), head.size()));
  return writer;
}

Status SafetensorsWriter::append(const void* data, size_t n) {
  if (n > expected_ - appended_) {
    return error(Code::invalid_argument, "writing ", path_, ": ", appended_, " + ", n,
                 " bytes of data, the tensors have ", expected_);
  }
  MM2_RETURN_IF_ERROR(file_->append(data, n));
  appended_ += n;
  return {};
}

Status SafetensorsWriter::publish() {
  if (appended_ != expected_) {
    return error(Code::invalid_argument, "writing ", path_, ": only ", appended_, " of ", expected_,
                 " bytes of data were given");
  }
  return file_->publish();
}

}  // namespace mm2
