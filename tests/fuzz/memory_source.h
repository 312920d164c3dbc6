// Checkpoint files that exist in memory only.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/host.h"

namespace fuzz {

class MemorySource final : public mm2::Source {
 public:
  explicit MemorySource(std::map<std::string, std::string> files) : files_(std::move(files)) {}

  mm2::Result<std::shared_ptr<mm2::SourceFile>> open(const std::string& name) const override {
    const auto found = files_.find(name);
    if (found == files_.end()) return mm2::error(mm2::Code::not_found, name, ": no such file");
    return std::shared_ptr<mm2::SourceFile>(std::make_shared<File>(found->second));
  }

 private:
  struct File final : mm2::SourceFile {
    explicit File(std::string t) : text(std::move(t)) {}
    uint64_t size() const override { return text.size(); }
    mm2::Status read_at(uint64_t offset, void* to, size_t n) const override {
      if (offset > text.size() || n > text.size() - offset) {
        return mm2::error(mm2::Code::io, "a read behind the end");
      }
      text.copy(static_cast<char*>(to), n, static_cast<size_t>(offset));
      return {};
    }
    std::string text;
  };
  std::map<std::string, std::string> files_;
};

inline mm2::Host host_with(std::map<std::string, std::string> files) {
  mm2::Host host;
  host.source = std::make_shared<MemorySource>(std::move(files));
  return host;
}

}  // namespace fuzz
