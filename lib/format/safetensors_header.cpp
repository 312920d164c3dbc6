// The header of a safetensors file: JSON to checked tensors.
#include <algorithm>
#include <array>

#include "absl/container/flat_hash_set.h"
#include "format/json_reader.h"
#include "format/safetensors.h"

namespace mm2 {
namespace {

constexpr size_t kMaxName = 65535;

class HeaderParser {
 public:
  HeaderParser(std::string_view json, uint64_t data_begin, uint64_t data_bytes,
               std::string_view file)
      : json_(json),
        file_(file),
        what_(join(file, ": header")),
        reader_(json, what_),
        data_begin_(data_begin),
        data_bytes_(data_bytes) {}

  Result<SafetensorsHeader> run() {
    std::string name;
    bool saw_metadata = false;
    reader_.begin_object("the header");
    while (reader_.next_key(name)) {
      const bool metadata = name == "__metadata__";
      if (metadata && saw_metadata) reader_.fail("duplicate key \"__metadata__\"");
      saw_metadata |= metadata;
      if (!(metadata ? read_metadata() : read_tensor(name))) return reader_.status();
    }
    if (reader_.ok() && json_.find_first_not_of(' ', reader_.position()) != json_.npos) {
      reader_.fail("the header's object is followed by something other than spaces");
    }
    if (!reader_.ok()) return reader_.status();
    MM2_RETURN_IF_ERROR(check_tiling());
    for (TensorInfo& tensor : header_.tensors) tensor.offset += data_begin_;
    return std::move(header_);
  }

 private:
  bool read_metadata() {
    absl::flat_hash_set<std::string> keys;
    std::string key, value;
    if (!reader_.begin_object("__metadata__")) return false;
    while (reader_.next_key(key)) {
      if (!keys.insert(key).second) {
        return reader_.fail(join("__metadata__: duplicate key ", quoted(key)));
      }
      if (!reader_.read_string(value, join("__metadata__: ", key.substr(0, 200)))) {
        return false;
      }
      header_.metadata.emplace_back(key, value);
    }
    return reader_.ok();
  }

  bool read_tensor(const std::string& name) {
    reader_.set_subject("tensor", name);
    if (name.size() > kMaxName) {
      return reader_.fail(
          join("a name of ", name.size(), " bytes, at most ", kMaxName, " are supported"));
    }
    if (name.find('\0') != std::string::npos) return reader_.fail("a NUL inside the name");
    if (header_.tensors.size() == SafetensorsFile::kMaxTensors) {
      return reader_.fail(
          join("the file has more than ", SafetensorsFile::kMaxTensors, " tensors"));
    }
    TensorInfo tensor;
    tensor.name = name;
    if (!reader_.begin_object("") || !read_fields(tensor)) return false;
    if (!names_.insert(name).second) return reader_.fail("duplicate key: the name appears twice");
    header_.tensors.push_back(std::move(tensor));
    reader_.set_subject("", "");
    return true;
  }

  bool read_fields(TensorInfo& tensor) {
    bool has_dtype = false, has_shape = false, has_offsets = false;
    std::string key;
    std::vector<std::string> others;
    while (reader_.next_key(key)) {
      bool* seen = key == "dtype"          ? &has_dtype
                   : key == "shape"        ? &has_shape
                   : key == "data_offsets" ? &has_offsets
                                           : nullptr;
      bool duplicate = seen != nullptr && *seen;
      if (seen == nullptr) {
        duplicate = std::find(others.begin(), others.end(), key) != others.end();
        if (others.size() == 64) return reader_.fail("more than 64 unknown fields");
        others.push_back(key);
      }
      if (duplicate) return reader_.fail(join("duplicate key ", quoted(key)));
      if (seen == nullptr) {
        if (!reader_.skip_value()) return false;
        continue;
      }
      *seen = true;
      const bool read = key == "dtype"   ? read_dtype(tensor)
                        : key == "shape" ? read_shape(tensor)
                                         : read_offsets();
      if (!read) return false;
    }
    if (!reader_.ok()) return false;
    if (!has_dtype || !has_shape || !has_offsets) {
      return reader_.fail(join("no ", !has_dtype   ? "dtype"
                                      : !has_shape ? "shape"
                                                   : "data_offsets"));
    }
    return check_size(tensor);
  }

  bool read_dtype(TensorInfo& tensor) {
    std::string name;
    if (!reader_.read_string(name, "dtype")) return false;
    const std::optional<Dtype> dtype = dtype_from_name(name);
    if (!dtype) return reader_.fail(join("dtype ", quoted(name), " is unknown"));
    tensor.dtype = *dtype;
    return true;
  }

  bool read_shape(TensorInfo& tensor) {
    std::array<int64_t, Shape::kMaxRank> extents;
    size_t rank = 0;
    if (!reader_.begin_array("shape")) return false;
    while (reader_.next_element()) {
      if (rank == extents.size()) {
        return reader_.fail(join("shape has more than ", Shape::kMaxRank, " dimensions"));
      }
      if (!reader_.read_size(extents[rank++], "shape")) return false;
    }
    if (!reader_.ok()) return false;
    const Result<Shape> shape = Shape::make({extents.data(), rank});
    if (!shape.ok()) return reader_.fail(shape.status().message());
    tensor.shape = *shape;
    return true;
  }

  bool read_offsets() {
    size_t n = 0;
    if (!reader_.begin_array("data_offsets")) return false;
    while (reader_.next_element()) {
      if (n == 2) return reader_.fail("data_offsets: more than two numbers");
      if (!reader_.read_size(offsets_[n++], "data_offsets")) return false;
    }
    if (reader_.ok() && n != 2) {
      return reader_.fail(join("data_offsets: ", n, " numbers, must be 2"));
    }
    return reader_.ok();
  }

  bool check_size(TensorInfo& tensor) {
    const auto [begin, end] = offsets_;
    if (begin > end) {
      return reader_.fail(
          join("data_offsets [", begin, ", ", end, "]: the begin is after the end"));
    }
    const std::optional<uint64_t> wanted = tensor_bytes(tensor.shape, tensor.dtype);
    if (!wanted) {
      const bool fraction = tensor.shape.n_elements() < (int64_t{1} << 56);
      return reader_.fail(
          join("shape ", tensor.shape.to_string(), " of ", dtype_name(tensor.dtype),
               fraction ? " is no whole number of bytes" : ": the byte count overflows 64 bits"));
    }
    const uint64_t given = static_cast<uint64_t>(end - begin);
    if (*wanted != given) {
      return reader_.fail(join("shape ", tensor.shape.to_string(), " of ", dtype_name(tensor.dtype),
                               " needs ", *wanted, " bytes, data_offsets [", begin, ", ", end,
                               "] give ", given));
    }
    tensor.offset = static_cast<uint64_t>(begin);
    tensor.bytes = given;
    return true;
  }

  // In order of their offsets the tensors must fill the data section from 0 to its end, each
  // starting where the one before ended.
  Status check_tiling() {
    std::vector<TensorInfo>& tensors = header_.tensors;
    const auto before = [](const TensorInfo& a, const TensorInfo& b) {
      return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
    };
    if (!std::is_sorted(tensors.begin(), tensors.end(), before)) {
      std::stable_sort(tensors.begin(), tensors.end(), before);
    }
    uint64_t reached = 0;
    const TensorInfo* last = nullptr;
    for (const TensorInfo& tensor : tensors) {
      if (tensor.offset < reached) {
        return error(Code::format, file_, ": tensors ", quoted(last->name), " and ",
                     quoted(tensor.name), " overlap: they share bytes ", tensor.offset, "..",
                     std::min(reached, tensor.offset + tensor.bytes), " of the data");
      }
      if (tensor.offset + tensor.bytes > data_bytes_) {
        return error(Code::format, file_, ": tensor ", quoted(tensor.name), " ends at byte ",
                     tensor.offset + tensor.bytes, " of the data, the file has ", data_bytes_,
                     " bytes of it: truncated");
      }
      if (tensor.offset > reached) {
        return error(Code::format, file_, ": bytes ", reached, "..", tensor.offset,
                     " of the data belong to no tensor: a hole (gap) before tensor ",
                     quoted(tensor.name));
      }
      reached += tensor.bytes;
      last = &tensor;
    }
    if (reached < data_bytes_) {
      return error(Code::format, file_, ": ", data_bytes_ - reached,
                   " trailing bytes after the last tensor are unused");
    }
    return {};
  }

  std::string_view json_;
  std::string_view file_;
  std::string what_;
  JsonReader reader_;
  uint64_t data_begin_;
  uint64_t data_bytes_;
  SafetensorsHeader header_;
  absl::flat_hash_set<std::string> names_;
  std::array<int64_t, 2> offsets_{};
};

}  // namespace

Result<SafetensorsHeader> parse_safetensors_header(std::string_view json, uint64_t data_begin,
                                                   uint64_t data_bytes, std::string_view file) {
  if (json.empty() || json.front() != '{') {
    return error(
        Code::format, file, ": the header must be a JSON object and start with '{', it ",
        json.empty() ? std::string("is empty") : join("starts with ", quoted(json.substr(0, 1))));
  }
  return HeaderParser(json, data_begin, data_bytes, file).run();
}

}  // namespace mm2
