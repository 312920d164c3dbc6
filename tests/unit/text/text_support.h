// What the tests of lib/text share: the recorded results of Hugging Face tokenizers.
#pragma once

#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "text/tokenizer.h"

#include <catch2/catch.hpp>

namespace text_support {

inline const std::string kData = MM2_TEST_DATA "/text/";
inline const std::string kModel = kData + "model_4096";

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

inline std::vector<mm2::Json> read_lines(const std::string& path) {
  std::vector<mm2::Json> lines;
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  for (std::string line; std::getline(in, line);) lines.push_back(mm2::Json::parse(line));
  REQUIRE(!lines.empty());
  return lines;
}

inline std::shared_ptr<const mm2::Tokenizer> load(const std::string& path) {
  auto loaded = mm2::Tokenizer::load(path, mm2::Host{});
  INFO(path << ": " << loaded.status().message());
  REQUIRE(loaded.ok());
  return *loaded;
}

inline std::vector<int32_t> encode(const mm2::Tokenizer& tokenizer, std::string_view text,
                                   bool parse_special) {
  auto ids = tokenizer.encode(text, parse_special);
  REQUIRE(ids.ok());
  return *std::move(ids);
}

inline std::string decode(const mm2::Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                          bool skip_special = false) {
  auto text = tokenizer.decode(ids, skip_special);
  REQUIRE(text.ok());
  return *std::move(text);
}

/// Files in memory.
class MemorySource final : public mm2::Source {
 public:
  explicit MemorySource(std::map<std::string, std::string> files) : files_(std::move(files)) {}
  mm2::Result<std::shared_ptr<mm2::SourceFile>> open(const std::string& name) const override {
    const auto found = files_.find(name);
    if (found == files_.end()) return mm2::error(mm2::Code::not_found, name, ": no such file");
    return std::shared_ptr<mm2::SourceFile>(std::make_shared<File>(found->second));
  }

 private:
  class File final : public mm2::SourceFile {
   public:
    explicit File(std::string text) : text_(std::move(text)) {}
    uint64_t size() const override { return text_.size(); }
    mm2::Status read_at(uint64_t offset, void* to, size_t n) const override {
      if (offset > text_.size() || n > text_.size() - offset)
        return mm2::error(mm2::Code::io, "read behind the end");
      text_.copy(static_cast<char*>(to), n, offset);
      return {};
    }

   private:
    std::string text_;
  };
  std::map<std::string, std::string> files_;
};

/// Loads the folder "m", which holds these files.
inline mm2::Result<std::shared_ptr<const mm2::Tokenizer>> load_memory(
    std::map<std::string, std::string> files) {
  mm2::Host host;
  std::map<std::string, std::string> paths;
  for (auto& [name, text] : files) paths["m/" + name] = std::move(text);
  host.source = std::make_shared<MemorySource>(std::move(paths));
  return mm2::Tokenizer::load("m", host);
}

}  // namespace text_support
