#include "tools/stream/output_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "tools/stream/journal.h"

namespace mm2 {
namespace {

namespace fs = std::filesystem;

Status write_error(const std::string& path, const std::string& doing, int reason) {
  if (reason == ENOSPC || reason == EDQUOT) {
    return error(Code::io, "writing ", path, ": ", doing, ": no space left on its disk")
        .with_native(Domain::system_errno, reason);
  }
  return errno_error(join("writing ", path, ": ", doing), reason);
}

bool exists(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0;
}

fs::path canonical(const std::string& path) {
  std::error_code failed;
  fs::path made = fs::weakly_canonical(path, failed);
  return failed ? fs::path(path).lexically_normal() : made;
}

bool is_inside(const fs::path& inner, const fs::path& outer) {
  auto i = inner.begin();
  for (auto o = outer.begin(); o != outer.end(); ++o, ++i) {
    if (o->empty()) break;  // a slash at the end
    if (i == inner.end() || *i != *o) return false;
  }
  return true;
}

void sync_folder(const std::string& path) {
  // Some file systems cannot sync a folder; what is in it is synced all the same.
  const int folder = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  (void)fsync(folder);
  close(folder);
}

std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

// Names of AtomicFile: "NAME.tmp-XXXXXX".
bool is_temporary(const std::string& name) {
  constexpr std::string_view kMark = ".tmp-";
  constexpr size_t kRandom = 6;
  return name.size() > kMark.size() + kRandom &&
         std::string_view(name).substr(name.size() - kRandom - kMark.size()).starts_with(kMark);
}

void remove_temporaries(const std::string& folder) {
  std::error_code failed;
  std::vector<fs::path> found;
  for (fs::recursive_directory_iterator at(folder, failed), end; !failed && at != end;
       at.increment(failed)) {
    if (is_temporary(at->path().filename().string())) found.push_back(at->path());
  }
  for (const fs::path& path : found) fs::remove(path, failed);
}

Status check_space(const std::string& parent, uint64_t bytes) {
  struct statvfs info;
  if (statvfs(parent.c_str(), &info) != 0) return {};
  const uint64_t available = uint64_t{info.f_bavail} * info.f_frsize;
  if (available >= bytes) return {};
  return error(Code::io, "writing into ", parent, ": ", bytes, " bytes are needed, ", available,
               " are free")
      .with_native(Domain::system_errno, ENOSPC);
}

}  // namespace

RandomFile::~RandomFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

RandomFile::RandomFile(RandomFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

RandomFile& RandomFile::operator=(RandomFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

Result<RandomFile> RandomFile::open(const std::string& path, uint64_t bytes) {
  RandomFile file;
  file.path_ = path;
  file.descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (file.descriptor_ < 0) return write_error(path, "making it", errno);
  // Whoever cannot reserve space may still have it: writing tells.
  const bool reserved =
      bytes == 0 || fallocate(file.descriptor_, 0, 0, static_cast<off_t>(bytes)) == 0;
  if (!reserved && (errno == ENOSPC || errno == EDQUOT)) {
    return write_error(path, join("reserving ", bytes, " bytes"), errno);
  }
  if (ftruncate(file.descriptor_, static_cast<off_t>(bytes)) != 0) {
    return write_error(path, join("making it ", bytes, " bytes long"), errno);
  }
  return file;
}

Status RandomFile::write_at(uint64_t offset, const void* data, size_t n) const {
  const auto* from = static_cast<const char*>(data);
  while (n > 0) {
    const ssize_t put = pwrite(descriptor_, from, n, static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return write_error(path_, join("at byte ", offset), errno);
    from += put;
    offset += static_cast<uint64_t>(put);
    n -= static_cast<size_t>(put);
  }
  return {};
}

Status RandomFile::read_at(uint64_t offset, void* to, size_t n) const {
  auto* at = static_cast<char*>(to);
  while (n > 0) {
    const ssize_t got = pread(descriptor_, at, n, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("reading " + path_, errno);
    if (got == 0) return error(Code::io, "reading ", path_, ": it ends at byte ", offset);
    at += got;
    offset += static_cast<uint64_t>(got);
    n -= static_cast<size_t>(got);
  }
  return {};
}

void RandomFile::begin_sync(uint64_t offset, uint64_t n) const {
  // Some file systems cannot; sync() then has all to do.
  (void)sync_file_range(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(n),
                        SYNC_FILE_RANGE_WRITE);
}

Status RandomFile::sync() const {
  if (fsync(descriptor_) != 0) return write_error(path_, "syncing", errno);
  return {};
}

Result<OutputFolder> OutputFolder::open(const std::string& path,
                                        std::span<const std::string> inputs, uint64_t bytes,
                                        bool resume) {
  OutputFolder folder;
  folder.path_ = path;
  while (folder.path_.size() > 1 && folder.path_.back() == '/') folder.path_.pop_back();
  const std::string& name = folder.path_;
  if (name.empty() || name == "/" || name.find('\0') != name.npos) {
    return error(Code::invalid_argument, "writing \"", path, "\": not a name for a folder");
  }
  if (exists(name)) {
    return error(Code::invalid_argument, "writing ", name,
                 ": it exists, and nothing is written over");
  }
  const std::string parent = parent_of(name);
  if (!fs::is_directory(parent)) {
    return error(Code::not_found, "writing ", name, ": there is no folder ", parent);
  }
  const fs::path out = canonical(name);
  for (const std::string& input : inputs) {
    const fs::path in = canonical(input);
    if (is_inside(out, in) || is_inside(in, out)) {
      return error(Code::invalid_argument, "writing ", name, ": it and the input ", input,
                   " lie one inside the other");
    }
  }
  if (!resume && exists(folder.partial())) {
    return error(Code::invalid_argument, "writing ", name, ": ", folder.partial(),
                 " is there from a run that did not end; mm2 resume ", name,
                 " continues it, removing it starts anew");
  }
  if (!resume) MM2_RETURN_IF_ERROR(check_space(parent, bytes));
  if (resume) remove_temporaries(folder.partial());
  return folder;
}

Status OutputFolder::make(const Layout& layout) {
  if (mkdir(partial().c_str(), 0755) != 0 && errno != EEXIST) {
    return write_error(partial(), "making the folder", errno);
  }
  for (const PlannedFile& planned : layout.files) {
    MM2_ASSIGN_OR_RETURN(RandomFile file,
                         RandomFile::open(join(partial(), "/", planned.name), planned.bytes));
    MM2_RETURN_IF_ERROR(file.write_at(0, planned.head.data(), planned.head.size()));
    files_.push_back(std::move(file));
  }
  return {};
}

Status OutputFolder::write_side_file(const SideFile& side, const Source& source) const {
  const std::string path = join(partial(), "/", side.name);
  if (side.copy_of.empty()) {
    MM2_ASSIGN_OR_RETURN(const RandomFile to, RandomFile::open(path, side.text.size()));
    MM2_RETURN_IF_ERROR(to.write_at(0, side.text.data(), side.text.size()));
    return to.sync();
  }
  constexpr uint64_t kPiece = 4 << 20;
  MM2_ASSIGN_OR_RETURN(const auto from, source.open(side.copy_of));
  MM2_ASSIGN_OR_RETURN(const RandomFile to, RandomFile::open(path, from->size()));
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(from->size(), kPiece)));
  for (uint64_t at = 0; at < from->size(); at += kPiece) {
    const auto n = static_cast<size_t>(std::min(kPiece, from->size() - at));
    MM2_RETURN_IF_ERROR(from->read_at(at, buffer.data(), n));
    MM2_RETURN_IF_ERROR(to.write_at(at, buffer.data(), n));
  }
  return to.sync();
}

Status OutputFolder::publish() {
  for (const RandomFile& file : files_) MM2_RETURN_IF_ERROR(file.sync());
  files_.clear();
  sync_folder(partial());
  if (exists(path_)) {
    return error(Code::io, "publishing ", path_, ": something of that name has come into being");
  }
  // RENAME_NOREPLACE closes the gap after that look; file systems without it get the plain rename.
  int failed = renameat2(AT_FDCWD, partial().c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE);
  if (failed != 0 && (errno == EINVAL || errno == ENOSYS)) {
    failed = rename(partial().c_str(), path_.c_str());
  }
  if (failed != 0) return write_error(path_, "renaming " + partial(), errno);
  sync_folder(parent_of(path_));
  return {};
}

Status OutputFolder::end(Status status, bool resumed) {
  if (status.ok()) {
    std::remove(journal().c_str());
  } else if (!keeps_unfinished(status.code()) && !resumed) {
    discard();
  }
  return status;
}

void OutputFolder::discard() {
  files_.clear();
  std::error_code ignored;
  fs::remove_all(partial(), ignored);
  fs::remove(journal(), ignored);
}

}  // namespace mm2
