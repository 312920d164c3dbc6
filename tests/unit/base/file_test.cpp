#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "base/host.h"

using namespace mm2;

namespace {

/// A file of n bytes, byte i being i / 4096 + i, removed at the end.
class TemporaryFile {
 public:
  explicit TemporaryFile(size_t n) {
    char name[] = "/tmp/mm2_file_test_XXXXXX";
    const int descriptor = mkstemp(name);
    REQUIRE(descriptor >= 0);
    path_ = name;
    std::FILE* out = fdopen(descriptor, "wb");
    for (size_t i = 0; i < n; ++i) std::fputc(static_cast<int>(i / 4096 + i) & 255, out);
    REQUIRE(std::fclose(out) == 0);
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// KiB of the mapping at p that are in memory of this process, or -1.
long resident(const void* p) {
  std::ostringstream address;
  address << std::hex << reinterpret_cast<uintptr_t>(p) << '-';
  std::ifstream maps("/proc/self/smaps");
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(address.str()) == 0) found = true;
    if (found && line.compare(0, 4, "Rss:") == 0) return std::atol(line.c_str() + 4);
  }
  return -1;
}

size_t n_wrong(const std::byte* data, size_t n) {
  size_t wrong = 0;
  for (size_t i = 0; i < n; ++i) {
    wrong += data[i] == static_cast<std::byte>((i / 4096 + i) & 255) ? 0 : 1;
  }
  return wrong;
}

}  // namespace

TEST_CASE("file: mapped bytes that are let go leave the process and come back as they were") {
  constexpr size_t kBytes = size_t{1} << 20;
  const TemporaryFile temporary(kBytes);
  const auto file = file_system_source()->open(temporary.path());
  REQUIRE(file.ok());
  (*file)->let_go(0, kBytes);  // nothing is mapped yet
  const std::byte* data = (*file)->map();
  REQUIRE(data != nullptr);
  CHECK(n_wrong(data, kBytes) == 0);
  CHECK(resident(data) == kBytes / 1024);
  (*file)->let_go(0, kBytes / 2);
  CHECK(resident(data) == kBytes / 2048);
  (*file)->let_go(kBytes / 2, kBytes);  // more than there is: nothing happens
  (*file)->let_go(kBytes + 1, 0);
  CHECK(resident(data) == kBytes / 2048);
  CHECK(n_wrong(data, kBytes) == 0);
}
