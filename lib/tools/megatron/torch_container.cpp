#include "tools/megatron/torch_container.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "tools/megatron/zip_index.h"

namespace mm2 {

namespace {

constexpr uint64_t kMaxPickle = uint64_t{1} << 29;
constexpr int kLegacyProtocol = 1001;
// The number that old files begin with, as the pickle holds it.
constexpr std::string_view kLegacyMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);

struct TorchType {
  std::string_view storage;  // class of a storage with elements of it, "" if there is none
  std::string_view dtype;
  Dtype ours;
};

constexpr std::array kTypes = {
    TorchType{"torch.DoubleStorage", "torch.float64", Dtype::f64},
    TorchType{"torch.FloatStorage", "torch.float32", Dtype::f32},
    TorchType{"torch.HalfStorage", "torch.float16", Dtype::f16},
    TorchType{"torch.BFloat16Storage", "torch.bfloat16", Dtype::bf16},
    TorchType{"torch.CharStorage", "torch.int8", Dtype::i8},
    TorchType{"torch.ByteStorage", "torch.uint8", Dtype::u8},
    TorchType{"torch.ShortStorage", "torch.int16", Dtype::i16},
    TorchType{"torch.IntStorage", "torch.int32", Dtype::i32},
    TorchType{"torch.LongStorage", "torch.int64", Dtype::i64},
    TorchType{"torch.BoolStorage", "torch.bool", Dtype::boolean},
    TorchType{"torch.ComplexFloatStorage", "torch.complex64", Dtype::c64},
    TorchType{"", "torch.float8_e4m3fn", Dtype::f8_e4m3},
    TorchType{"", "torch.float8_e5m2", Dtype::f8_e5m2},
    TorchType{"", "torch.float8_e8m0fnu", Dtype::f8_e8m0},
    TorchType{"", "torch.float8_e4m3fnuz", Dtype::f8_e4m3fnuz},
    TorchType{"", "torch.float8_e5m2fnuz", Dtype::f8_e5m2fnuz},
    TorchType{"", "torch.uint16", Dtype::u16},
    TorchType{"", "torch.uint32", Dtype::u32},
    TorchType{"", "torch.uint64", Dtype::u64},
};

}  // namespace

std::optional<Dtype> dtype_of_torch(std::string_view name) {
  for (const TorchType& type : kTypes) {
    if (type.dtype == name) return type.ours;
  }
  return std::nullopt;
}

TorchTypeNames torch_names_of(Dtype dtype) {
  constexpr size_t kModule = 6;  // "torch."
  for (const TorchType& type : kTypes) {
    if (type.ours != dtype) continue;
    return {type.storage.substr(std::min(kModule, type.storage.size())),
            type.dtype.substr(kModule)};
  }
  return {};
}

Result<TorchStorage> torch_storage(const Pickle& pickle, uint32_t value) {
  const auto parts =
      pickle.children(pickle[value]);  // "storage", class, key, device, elements, view
  const auto kind = [&](size_t i) { return pickle[parts[i]].kind; };
  const bool whole = parts.size() >= 5 && kind(1) == PickleKind::name &&
                     kind(2) == PickleKind::text && kind(4) == PickleKind::integer &&
                     pickle[parts[4]].integer >= 0 &&
                     (parts.size() == 5 || (parts.size() == 6 && kind(5) == PickleKind::none));
  if (!whole) return error(Code::format, "its storage is not described as torch.save does");
  TorchStorage storage;
  storage.key = pickle[parts[2]].text;
  storage.n_elements = pickle[parts[4]].integer;
  const std::string_view type = pickle[parts[1]].text;
  for (const TorchType& known : kTypes) {
    if (known.storage == type) storage.dtype = known.ours;
  }
  if (!storage.dtype && type != "torch.storage.UntypedStorage") {
    return error(Code::unsupported, "its storage is a ", type);
  }
  const uint64_t width = storage.dtype ? element_bytes(*storage.dtype) : 1;
  const auto bytes = checked_mul(static_cast<uint64_t>(storage.n_elements), width);
  if (!bytes) return error(Code::format, "a storage of ", storage.n_elements, " elements");
  storage.bytes = *bytes;
  return storage;
}

namespace {

class ContainerReader {
 public:
  ContainerReader(const SourceFile& file, const std::string& name, TorchContainer& out)
      : source_(file), name_(name), out_(out) {}

  Status run() {
    char head[4] = {};
    if (size() < sizeof head) {
      return error(Code::format, name_, ": a file of ", size(), " bytes is no torch file");
    }
    MM2_RETURN_IF_ERROR(file().read_at(0, head, sizeof head));
    return std::memcmp(head, "PK\x03\x04", 4) == 0 ? open_archive() : open_legacy();
  }

 private:
  const SourceFile& file() const { return source_; }
  uint64_t size() const { return source_.size(); }

  // The archive: PREFIX/data.pkl, PREFIX/byteorder, PREFIX/data/KEY.

  Status open_archive() {
    MM2_ASSIGN_OR_RETURN(const std::vector<ZipEntry> entries, read_zip_index(file(), name_));
    constexpr std::string_view kPickle = "/data.pkl";
    const ZipEntry* pickle = nullptr;
    for (const ZipEntry& entry : entries) {
      const size_t slash = entry.name.find('/');
      if (slash == std::string::npos || entry.name.substr(slash) != kPickle) continue;
      if (pickle != nullptr) return error(Code::format, name_, ": it holds two data.pkl");
      pickle = &entry;
    }
    if (pickle == nullptr) return error(Code::format, name_, ": it holds no data.pkl");
    const std::string prefix = pickle->name.substr(0, pickle->name.size() + 1 - kPickle.size());
    for (const ZipEntry& entry : entries) {
      if (entry.name == prefix + "byteorder") MM2_RETURN_IF_ERROR(check_order(entry));
      const std::string folder = prefix + "data/";
      if (entry.name.compare(0, folder.size(), folder) == 0) {
        out_.storages[entry.name.substr(folder.size())] = {entry.offset, entry.bytes};
      }
    }
    if (pickle->bytes > kMaxPickle) {
      return error(Code::unsupported, name_, ": a pickle of ", pickle->bytes, " bytes; at most ",
                   kMaxPickle, " are read");
    }
    out_.text.resize(static_cast<size_t>(pickle->bytes));
    MM2_RETURN_IF_ERROR(file().read_at(pickle->offset, out_.text.data(), out_.text.size()));
    if (crc32(0, out_.text.data(), out_.text.size()) != pickle->crc) {
      return error(Code::format, name_, ": data.pkl is damaged: its checksum does not fit");
    }
    MM2_ASSIGN_OR_RETURN(out_.pickle, read_pickle(out_.text, name_));
    if (out_.pickle.n_bytes != out_.text.size()) {
      return error(Code::format, name_, ": data.pkl goes on after its end");
    }
    return {};
  }

  Status check_order(const ZipEntry& entry) const {
    char order[6];
    if (entry.bytes == sizeof order) {
      MM2_RETURN_IF_ERROR(file().read_at(entry.offset, order, sizeof order));
      if (std::string_view(order, sizeof order) == "little") return {};
    }
    return error(Code::unsupported, name_, ": its bytes are not in little-endian order");
  }

  // The old format: pickles of a magic number, a protocol, the machine, the object and the keys of the
  // storages, then each storage as its number of elements and its data.

  Status open_legacy() {
    uint64_t begin = 0;
    std::string buffer;
    Pickle part;
    MM2_RETURN_IF_ERROR(next_pickle(begin, buffer, part));
    if (part[part.root].kind != PickleKind::big_integer || part[part.root].text != kLegacyMagic) {
      return error(Code::format, name_, ": neither an archive nor an old torch file");
    }
    MM2_RETURN_IF_ERROR(next_pickle(begin, buffer, part));
    if (part[part.root].kind != PickleKind::integer || part[part.root].integer != kLegacyProtocol) {
      return error(Code::unsupported, name_, ": an old torch file of a protocol other than ",
                   kLegacyProtocol);
    }
    MM2_RETURN_IF_ERROR(next_pickle(begin, buffer, part));
    MM2_RETURN_IF_ERROR(check_machine(part));
    MM2_RETURN_IF_ERROR(next_pickle(begin, out_.text, out_.pickle));
    MM2_RETURN_IF_ERROR(next_pickle(begin, buffer, part));
    return place_storages(part, begin);
  }

  // How long a pickle is only its end tells: the window grows until it is whole.
  Status next_pickle(uint64_t& begin, std::string& buffer, Pickle& pickle) const {
    for (uint64_t window = uint64_t{1} << 16;; window *= 4) {
      const uint64_t left = size() - begin;
      const uint64_t n = std::min({window, left, kMaxPickle});
      buffer.assign(static_cast<size_t>(n), '\0');
      MM2_RETURN_IF_ERROR(file().read_at(begin, buffer.data(), buffer.size()));
      bool truncated = false;
      auto read = read_pickle(buffer, name_, &truncated);
      if (read.ok()) {
        pickle = *std::move(read);
        begin += pickle.n_bytes;
        return {};
      }
      if (!truncated || n == left || n == kMaxPickle) return read.status();
    }
  }

  Status check_machine(const Pickle& part) const {
    const auto items = part.children(part[part.root]);
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      if (part[items[i]].text == "little_endian" && !part[items[i + 1]].flag) {
        return error(Code::unsupported, name_, ": its bytes are not in little-endian order");
      }
    }
    return {};
  }

  Status place_storages(const Pickle& keys, uint64_t begin) {
    absl::flat_hash_map<std::string_view, TorchStorage> known;
    for (uint32_t i = 0; i < out_.pickle.values.size(); ++i) {
      if (out_.pickle[i].kind != PickleKind::storage) continue;
      auto id = torch_storage(out_.pickle, i);
      if (!id.ok()) return Status(id.status()).in(name_);
      known.emplace(id->key, *id);
    }
    for (const uint32_t key : keys.children(keys[keys.root])) {
      const auto found = known.find(keys[key].text);
      if (found == known.end()) {
        return error(Code::format, name_, ": it lists a storage that nothing refers to");
      }
      char count[8];
      if (begin > size() || size() - begin < sizeof count) return cut_short(found->second);
      MM2_RETURN_IF_ERROR(file().read_at(begin, count, sizeof count));
      begin += sizeof count;
      int64_t n_elements;
      std::memcpy(&n_elements, count, sizeof n_elements);
      if (n_elements != found->second.n_elements || found->second.bytes > size() - begin) {
        return cut_short(found->second);
      }
      out_.storages[std::string(found->first)] = {begin, found->second.bytes};
      begin += found->second.bytes;
    }
    return {};
  }

  Status cut_short(const TorchStorage& id) const {
    return error(Code::format, name_, ": storage ", shown_text(id.key), " of ", id.n_elements,
                 " elements is not wholly there");
  }

  const SourceFile& source_;
  const std::string& name_;
  TorchContainer& out_;
};

}  // namespace

Status read_torch_container(const SourceFile& file, const std::string& name, TorchContainer& out) {
  return ContainerReader(file, name, out).run();
}

std::string shown_text(std::string_view text) {
  std::string result;
  for (const char c : text.substr(0, 200)) result += c >= ' ' && c <= '~' ? c : '?';
  return result;
}

}  // namespace mm2
