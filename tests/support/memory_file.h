// A file that exists in memory and refuses to be read outside of it.
#pragma once

#include <string>
#include <utility>

#include "base/host.h"

struct MemoryFile final : mm2::SourceFile {
  explicit MemoryFile(std::string t) : text(std::move(t)) {}
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
