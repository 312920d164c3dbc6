#include "tensor_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "json_io.h"

namespace cli {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

TensorFile::TensorFile(const std::string& path, const std::string& name, int64_t n_rows,
                       int64_t n_columns)
    : path_(path),
      temporary_(path + ".tmp-" + std::to_string(getpid())),
      doing_("writing " + path),
      file_(nullptr, std::fclose),
      n_missing_(n_rows * n_columns) {
  const int descriptor = open(temporary_.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
  if (descriptor < 0) throw Failure(kResources, doing_, std::strerror(errno));
  file_.reset(fdopen(descriptor, "wb"));
  const Json header = {
      {name,
       {{"dtype", "F32"}, {"shape", {n_rows, n_columns}}, {"data_offsets", {0, n_missing_ * 4}}}}};
  std::string text = to_text(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data begin at a multiple of 8
  const uint64_t size = text.size();
  try {
    write_bytes(&size, sizeof size);
    write_bytes(text.data(), text.size());
  } catch (...) {
    unlink(temporary_.c_str());
    throw;
  }
}

TensorFile::~TensorFile() {
  if (file_ == nullptr) return;
  file_.reset();
  unlink(temporary_.c_str());
}

void TensorFile::write(std::span<const float> values) {
  write_bytes(values.data(), values.size_bytes());
  n_missing_ -= static_cast<int64_t>(values.size());
}

void TensorFile::publish() {
  if (n_missing_ != 0) {
    throw Failure(kResources, doing_, std::to_string(n_missing_) + " values were not computed");
  }
  const bool on_disk = std::fflush(file_.get()) == 0 && fsync(fileno(file_.get())) == 0;
  if (!on_disk || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    throw Failure(kResources, doing_, std::strerror(errno));
  }
  file_.reset();
}

void TensorFile::write_bytes(const void* bytes, size_t n) {
  if (n > 0 && std::fwrite(bytes, 1, n, file_.get()) != n) {
    throw Failure(kResources, doing_, std::strerror(errno));
  }
}

}  // namespace cli
