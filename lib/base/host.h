// What the host application may supply: memory, threads, a log sink, progress, a source of bytes.
// The C structs of include/mm2/host.h are translated into these at the border; every field has a
// default here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace mm2 {

/// Memory for weights, KV pools and step buffers. The default is aligned operator new.
class Allocator {
 public:
  virtual ~Allocator() = default;
  /// nullptr when there is no more memory. `alignment` is a power of two.
  virtual void* allocate(size_t size, size_t alignment) noexcept = 0;
  virtual void release(void* pointer, size_t size, size_t alignment) noexcept = 0;
};
std::shared_ptr<Allocator> default_allocator();

enum class LogLevel : int32_t { error = 1, warning = 2, info = 3, debug = 4, trace = 5 };

/// Where messages go; silent by default. May be called from any thread.
class Log {
 public:
  using Sink = std::function<void(LogLevel, std::string_view component, std::string_view text)>;
  Log() = default;
  Log(LogLevel level, Sink sink) : level_(level), sink_(std::move(sink)) {}
  bool wants(LogLevel level) const { return sink_ && level <= level_; }
  template <typename... Pieces>
  void write(LogLevel level, std::string_view component, const Pieces&... pieces) const {
    if (wants(level)) sink_(level, component, join(pieces...));
  }

 private:
  LogLevel level_ = LogLevel::warning;
  Sink sink_;
};

/// One report of progress on long work.
struct Progress {
  int32_t stage = 0;  // see ProgressStage
  uint64_t done = 0;
  uint64_t total = 0;  // 0 = unknown
  std::string_view subject;
};
enum ProgressStage : int32_t { kStageOpen = 0, kStageLoad = 1, kStagePack = 2, kStageTool = 3 };

/// Returns false to cancel. Called from one thread at a time.
using ProgressFn = std::function<bool(const Progress&)>;

/// A checkpoint file, readable from any thread at once.
class SourceFile {
 public:
  virtual ~SourceFile() = default;
  virtual uint64_t size() const = 0;
  virtual Status read_at(uint64_t offset, void* to, size_t n) const = 0;
  /// The whole file in memory, valid as long as this object; nullptr when it cannot be mapped.
  virtual const std::byte* map() const { return nullptr; }
  /// These mapped bytes are wanted now: their pages are brought in at once instead of one by one.
  virtual void bring(uint64_t /*offset*/, uint64_t /*n*/) const {}
  /// Nobody needs these mapped bytes soon: their pages may leave the process. Reading them again is
  /// slower and still right.
  virtual void let_go(uint64_t /*offset*/, uint64_t /*n*/) const {}
};

/// Where checkpoint files come from: the file system unless the host gives its own.
class Source {
 public:
  virtual ~Source() = default;
  /// `name` is a path for the file system; for a host's source whatever the host passed as path,
  /// "/" and a plain file name.
  virtual Result<std::shared_ptr<SourceFile>> open(const std::string& name) const = 0;
};
std::shared_ptr<Source> file_system_source();

class Executor;  // base/executor.h

/// All of it, copied into the objects that need it. Null members mean the default.
struct Host {
  std::shared_ptr<Allocator> allocator = default_allocator();
  std::shared_ptr<Executor> executor;  // null: a team of our own, made by whoever needs one
  std::shared_ptr<Source> source = file_system_source();
  Log log;
  ProgressFn progress;
};

/// Reads a whole (text) file, refusing those above `limit` bytes before anything is allocated.
Result<std::string> read_all(const Source& source, const std::string& name, uint64_t limit);

}  // namespace mm2
