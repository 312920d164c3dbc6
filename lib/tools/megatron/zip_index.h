// Where the entries of a zip archive lie. Entries are stored as they are (what torch.save does), so
// their bytes are a range of the file; libraries for archives do not tell which.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/host.h"
#include "base/status.h"

namespace mm2 {

struct ZipEntry {
  std::string name;
  uint64_t offset = 0;  // of its first byte in the file
  uint64_t bytes = 0;
  uint32_t crc = 0;
};

/// The entries in the order of the directory, with 64-bit sizes where needed. Code::format: no
/// directory (the file was cut), entries outside the file or over the directory, names twice;
/// Code::unsupported: compressed or encrypted entries, archives of several parts. Memory is taken only
/// for what the directory lists.
Result<std::vector<ZipEntry>> read_zip_index(const SourceFile& file, const std::string& what);

/// CRC-32 as zip uses it; begin with 0 and feed pieces in order.
uint32_t crc32(uint32_t crc, const void* data, size_t n);

}  // namespace mm2
