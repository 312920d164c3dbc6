// Files of the file system: read by pread, mapped on request, regular files only.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>

#include "base/host.h"

namespace mm2 {
namespace {

class DiskFile final : public SourceFile {
 public:
  DiskFile(std::string path, int descriptor, uint64_t size)
      : path_(std::move(path)), descriptor_(descriptor), size_(size) {}
  ~DiskFile() override {
    if (mapped_ != nullptr) munmap(mapped_, size_);
    close(descriptor_);
  }
  DiskFile(const DiskFile&) = delete;
  DiskFile& operator=(const DiskFile&) = delete;

  uint64_t size() const override { return size_; }

  Status read_at(uint64_t offset, void* to, size_t n) const override {
    auto* at = static_cast<char*>(to);
    while (n > 0) {
      const ssize_t got = pread(descriptor_, at, n, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return errno_error("reading " + path_, errno);
      if (got == 0) {
        return error(Code::io, "reading ", path_, ": the file ended at ", offset, ", ", n,
                     " bytes short; it had ", size_, " bytes when it was opened");
      }
      at += got;
      offset += static_cast<uint64_t>(got);
      n -= static_cast<size_t>(got);
    }
    return {};
  }

  const std::byte* map() const override {
    std::call_once(once_, [this] {
      if (size_ == 0) return;
      void* p = mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor_, 0);
      if (p != MAP_FAILED) mapped_ = p;
    });
    return static_cast<const std::byte*>(mapped_);
  }

  void bring(uint64_t offset, uint64_t n) const override {
#ifdef MADV_POPULATE_READ
    advise(offset, n, MADV_POPULATE_READ);  // older systems refuse it, and nothing is lost
#else
    (void)offset, (void)n;
#endif
  }
  void let_go(uint64_t offset, uint64_t n) const override {
    advise(offset, n, MADV_DONTNEED);
  }

 private:
  // Whole pages: that of the border is in it.
  void advise(uint64_t offset, uint64_t n, int advice) const {
    if (mapped_ == nullptr || offset > size_ || n > size_ - offset) return;
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    const uint64_t first = offset / page * page;
    (void)madvise(static_cast<char*>(mapped_) + first, offset + n - first, advice);
  }

  std::string path_;
  int descriptor_;
  uint64_t size_;
  mutable std::once_flag once_;
  mutable void* mapped_ = nullptr;
};

class FileSystem final : public Source {
 public:
  Result<std::shared_ptr<SourceFile>> open(const std::string& name) const override {
    if (name.find('\0') != std::string::npos) {
      return error(Code::invalid_argument, "a file name holds a NUL byte");
    }
    // O_NONBLOCK: opening a FIFO must not wait for a writer; regular files ignore it.
    const int descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return errno_error("opening " + name, errno);
    struct stat info;
    if (fstat(descriptor, &info) != 0) {
      const int reason = errno;
      close(descriptor);
      return errno_error("opening " + name, reason);
    }
    if (!S_ISREG(info.st_mode)) {
      close(descriptor);
      return error(Code::format, "opening ", name, ": not a regular file");
    }
    return std::shared_ptr<SourceFile>(
        std::make_shared<DiskFile>(name, descriptor, static_cast<uint64_t>(info.st_size)));
  }
};

}  // namespace

std::shared_ptr<Source> file_system_source() {
  return std::make_shared<FileSystem>();
}

}  // namespace mm2
