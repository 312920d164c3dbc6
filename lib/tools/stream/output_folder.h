// The folder that a verb writes: DIR.partial with files of their full size, filled in any order, and
// DIR once all of it is there and synced. Nothing is ever seen under the name DIR before.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/host.h"
#include "base/status.h"
#include "tools/stream/plan.h"

namespace mm2 {

/// A file open for reading and writing at any place, from any thread.
class RandomFile {
 public:
  RandomFile() = default;
  ~RandomFile();
  RandomFile(RandomFile&& other) noexcept;
  RandomFile& operator=(RandomFile&& other) noexcept;

  /// Opens or makes it, `bytes` long; space is reserved where the file system can.
  static Result<RandomFile> open(const std::string& path, uint64_t bytes);
  Status write_at(uint64_t offset, const void* data, size_t n) const;
  Status read_at(uint64_t offset, void* to, size_t n) const;
  /// Lets the system begin to write these bytes to the disk, so that sync() finds little left to do.
  void begin_sync(uint64_t offset, uint64_t n) const;
  Status sync() const;

 private:
  std::string path_;
  int descriptor_ = -1;
};

class OutputFolder {
 public:
  /// With `resume`, what an AtomicFile left in DIR.partial when it was killed is removed. Checks the
  /// name: not empty, nothing there, not inside one of `inputs` and none of them inside it;
  /// and the space for `bytes`. Without `resume`, DIR.partial must not be there.
  static Result<OutputFolder> open(const std::string& path, std::span<const std::string> inputs,
                                   uint64_t bytes, bool resume);

  const std::string& path() const { return path_; }
  std::string partial() const { return path_ + ".partial"; }
  std::string journal() const { return path_ + ".journal"; }

  /// Makes DIR.partial and the files in it, with their headers.
  Status make(const Layout& layout);
  const RandomFile& file(size_t i) const { return files_[i]; }
  /// Straight under its name: the folder is not seen before all of it is there.
  Status write_side_file(const SideFile& side, const Source& source) const;
  /// Syncs and closes the files, syncs the folder, gives it its name (refused when something has it
  /// by now), syncs the folder around it.
  Status publish();
  /// The end of a run that came to `status`, which it returns: the journal goes when all went well;
  /// what is worth nothing for a resume goes too, unless the run was itself `resumed`.
  Status end(Status status, bool resumed);

 private:
  void discard();

  std::string path_;
  std::vector<RandomFile> files_;
};

}  // namespace mm2
