// Checkpoint files that exist in memory only.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/host.h"
#include "support/memory_file.h"

namespace fuzz {

class MemorySource final : public mm2::Source {
 public:
  explicit MemorySource(std::map<std::string, std::string> files) : files_(std::move(files)) {}

  mm2::Result<std::shared_ptr<mm2::SourceFile>> open(const std::string& name) const override {
    const auto found = files_.find(name);
    if (found == files_.end()) return mm2::error(mm2::Code::not_found, name, ": no such file");
    return std::shared_ptr<mm2::SourceFile>(std::make_shared<MemoryFile>(found->second));
  }

 private:
  std::map<std::string, std::string> files_;
};

inline mm2::Host host_with(std::map<std::string, std::string> files) {
  mm2::Host host;
  host.source = std::make_shared<MemorySource>(std::move(files));
  return host;
}

}  // namespace fuzz
