#include "tools/megatron/zip_index.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/container/flat_hash_set.h"

namespace mm2 {

namespace {

constexpr uint32_t kEndMark = 0x06054b50;
constexpr uint32_t kEnd64Mark = 0x06064b50;
constexpr uint32_t kEnd64PlaceMark = 0x07064b50;
constexpr uint32_t kEntryMark = 0x02014b50;
constexpr uint32_t kLocalMark = 0x04034b50;
constexpr size_t kEndBytes = 22;
constexpr size_t kEnd64Bytes = 56;
constexpr size_t kEnd64PlaceBytes = 20;
constexpr size_t kEntryBytes = 46;
constexpr size_t kLocalBytes = 30;
constexpr size_t kMaxComment = 65535;
constexpr uint32_t kIn64 = 0xFFFFFFFF;
constexpr uint64_t kMaxDirectory = uint64_t{1} << 30;

uint64_t little(const char* at, size_t n) {
  uint64_t value = 0;
  for (size_t i = 0; i < n; ++i) value |= uint64_t{static_cast<uint8_t>(at[i])} << 8 * i;
  return value;
}
uint16_t u16(const char* at) {
  return static_cast<uint16_t>(little(at, 2));
}
uint32_t u32(const char* at) {
  return static_cast<uint32_t>(little(at, 4));
}
uint64_t u64(const char* at) {
  return little(at, 8);
}

class Reader {
 public:
  Reader(const SourceFile& file, const std::string& what) : file_(file), what_(what) {}

  Result<std::vector<ZipEntry>> run() {
    MM2_RETURN_IF_ERROR(find_end());
    std::string directory(static_cast<size_t>(directory_bytes_), '\0');
    MM2_RETURN_IF_ERROR(file_.read_at(directory_at_, directory.data(), directory.size()));
    std::vector<ZipEntry> entries;
    size_t at = 0;
    for (uint64_t i = 0; i < n_entries_; ++i) MM2_RETURN_IF_ERROR(entry(directory, at, entries));
    absl::flat_hash_set<std::string_view> names;
    for (const ZipEntry& one : entries) {
      if (!names.insert(one.name).second) {
        return error(Code::format, what_, ": the archive holds ", one.name, " twice");
      }
    }
    return entries;
  }

 private:
  // The record at the end of the file that tells where the directory lies.
  Status find_end() {
    const uint64_t size = file_.size();
    const auto n = static_cast<size_t>(std::min<uint64_t>(size, kEndBytes + kMaxComment));
    std::string tail(n, '\0');
    MM2_RETURN_IF_ERROR(file_.read_at(size - n, tail.data(), n));
    for (size_t at = n < kEndBytes ? 0 : n - kEndBytes + 1; at-- > 0;) {
      const char* const end = tail.data() + at;
      if (u32(end) != kEndMark || at + kEndBytes + u16(end + 20) != n) continue;
      const uint64_t end_at = size - n + at;
      if (u16(end + 4) != 0 || u16(end + 6) != 0 || u16(end + 8) != u16(end + 10)) {
        return error(Code::unsupported, what_, ": an archive in several parts");
      }
      n_entries_ = u16(end + 10);
      directory_bytes_ = u32(end + 12);
      directory_at_ = u32(end + 16);
      uint64_t limit = end_at;
      if (n_entries_ == 0xFFFF || directory_bytes_ == kIn64 || directory_at_ == kIn64) {
        MM2_RETURN_IF_ERROR(find_end64(end_at, limit));
      }
      if (directory_at_ > limit || directory_bytes_ > limit - directory_at_ ||
          directory_bytes_ > kMaxDirectory || n_entries_ > directory_bytes_ / kEntryBytes) {
        return error(Code::format, what_, ": the archive's directory of ", n_entries_,
                     " entries in ", directory_bytes_, " bytes at ", directory_at_,
                     " does not fit a file of ", size, " bytes");
      }
      return {};
    }
    return error(Code::format, what_,
                 ": no archive directory at the end; the file was cut or is no torch file");
  }

  Status find_end64(uint64_t end_at, uint64_t& limit) {
    char place[kEnd64PlaceBytes], end[kEnd64Bytes];
    const auto lost = [&] {
      return error(Code::format, what_, ": the archive's 64-bit directory record is not there");
    };
    if (end_at < sizeof place) return lost();
    MM2_RETURN_IF_ERROR(file_.read_at(end_at - sizeof place, place, sizeof place));
    const uint64_t at = u64(place + 8), before = end_at - sizeof place;
    if (u32(place) != kEnd64PlaceMark || before < sizeof end || at > before - sizeof end) {
      return lost();
    }
    MM2_RETURN_IF_ERROR(file_.read_at(at, end, sizeof end));
    if (u32(end) != kEnd64Mark) return lost();
    n_entries_ = u64(end + 32);
    directory_bytes_ = u64(end + 40);
    directory_at_ = u64(end + 48);
    limit = at;
    return {};
  }

  Status entry(const std::string& directory, size_t& at, std::vector<ZipEntry>& entries) {
    const auto broken = [&] {
      return error(Code::format, what_, ": the archive's directory is broken at byte ", at);
    };
    if (directory.size() - at < kEntryBytes) return broken();
    const char* const head = directory.data() + at;
    const size_t name_bytes = u16(head + 28), extra_bytes = u16(head + 30);
    const size_t all = kEntryBytes + name_bytes + extra_bytes + u16(head + 32);
    if (u32(head) != kEntryMark || directory.size() - at < all) return broken();
    ZipEntry one;
    one.name.assign(head + kEntryBytes, name_bytes);
    one.crc = u32(head + 16);
    uint64_t packed = u32(head + 20), local = u32(head + 42);
    one.bytes = u32(head + 24);
    if (!take_extra(head + kEntryBytes + name_bytes, extra_bytes, one.bytes, packed, local)) {
      return broken();
    }
    if (u16(head + 10) != 0 || packed != one.bytes || (u16(head + 8) & 1) != 0) {
      return error(Code::unsupported, what_, ": entry ", one.name.substr(0, 200),
                   " is compressed or encrypted; torch.save stores entries as they are");
    }
    MM2_RETURN_IF_ERROR(place(local, one));
    at += all;
    entries.push_back(std::move(one));
    return {};
  }

  // 64-bit sizes replace those that read 0xFFFFFFFF, in this order.
  static bool take_extra(const char* extra, size_t n, uint64_t& bytes, uint64_t& packed,
                         uint64_t& local) {
    while (n >= 4) {
      const size_t field = u16(extra + 2);
      if (field > n - 4) return false;
      if (u16(extra) == 1) {
        size_t at = 0;
        for (uint64_t* value : {&bytes, &packed, &local}) {
          if (*value != kIn64) continue;
          if (field - at < 8) return false;
          *value = u64(extra + 4 + at);
          at += 8;
        }
        return true;
      }
      extra += 4 + field;
      n -= 4 + field;
    }
    return bytes != kIn64 && packed != kIn64 && local != kIn64;
  }

  // The data follows a second header, whose length only it tells.
  Status place(uint64_t local, ZipEntry& one) {
    const auto outside = [&] {
      return error(Code::format, what_, ": entry ", one.name.substr(0, 200), " of ", one.bytes,
                   " bytes at ", local, " does not lie before the directory");
    };
    if (directory_at_ < kLocalBytes || local > directory_at_ - kLocalBytes) return outside();
    char head[kLocalBytes];
    MM2_RETURN_IF_ERROR(file_.read_at(local, head, sizeof head));
    if (u32(head) != kLocalMark) return outside();
    one.offset = local + kLocalBytes + u16(head + 26) + u16(head + 28);
    if (one.offset > directory_at_ || one.bytes > directory_at_ - one.offset) return outside();
    return {};
  }

  const SourceFile& file_;
  const std::string& what_;
  uint64_t n_entries_ = 0;
  uint64_t directory_bytes_ = 0;
  uint64_t directory_at_ = 0;
};

using CrcTables = std::array<std::array<uint32_t, 256>, 8>;

constexpr CrcTables crc_tables() {
  CrcTables tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0xEDB88320u : 0);
    tables[0][i] = value;
  }
  for (size_t t = 1; t < 8; ++t) {
    for (size_t i = 0; i < 256; ++i) {
      tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xFF];
    }
  }
  return tables;
}

}  // namespace

Result<std::vector<ZipEntry>> read_zip_index(const SourceFile& file, const std::string& what) {
  return Reader(file, what).run();
}

uint32_t crc32(uint32_t crc, const void* data, size_t n) {
  static constexpr CrcTables kTables = crc_tables();
  const auto* bytes = static_cast<const char*>(data);
  crc = ~crc;
  for (; n >= 8; n -= 8, bytes += 8) {  // eight bytes at a time, each through a table of its own
    const uint64_t word = u64(bytes) ^ crc;
    crc = 0;
    for (size_t i = 0; i < 8; ++i) crc ^= kTables[7 - i][word >> 8 * i & 0xFF];
  }
  for (; n > 0; --n, ++bytes) {
    crc = (crc >> 8) ^ kTables[0][(crc ^ static_cast<uint8_t>(*bytes)) & 0xFF];
  }
  return ~crc;
}

}  // namespace mm2
