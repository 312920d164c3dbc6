#include "tools/megatron/torch_file.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/checked.h"
#include "tools/megatron/torch_container.h"

namespace mm2 {

namespace {

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxPath = 512;
constexpr size_t kMaxVisits = 4'000'000;
constexpr size_t kMaxRemarks = 10'000;  // scalars, and opaque objects, that are kept

}  // namespace

class TorchFileReader {
 public:
  TorchFileReader(std::shared_ptr<SourceFile> file, const std::string& name)
      : name_(name), out_(new TorchFile) {
    out_->file_ = std::move(file);
    out_->name_ = name;
  }

  Result<std::shared_ptr<TorchFile>> run() {
    MM2_RETURN_IF_ERROR(read_torch_container(*out_->file_, name_, in_));
    MM2_RETURN_IF_ERROR(walk());
    return out_;
  }

 private:
  const PickleValue& at(uint32_t i) const { return in_.pickle[i]; }
  std::span<const uint32_t> children(uint32_t i) const {
    return in_.pickle.children(in_.pickle[i]);
  }

  // Tensors.

  Status wrong(const std::string& reason) const {
    return error(Code::format, name_, ": tensor ", shown_text(path_), ": ", reason);
  }

  // The call that makes the tensor, seen through the parameters around it.
  Result<uint32_t> maker(uint32_t value) const {
    for (int wrapped = 0; wrapped < 8; ++wrapped) {
      const std::string_view function = at(value).text;
      if (function.substr(0, 31) != "torch._utils._rebuild_parameter") return value;
      const auto arguments = children(value);
      if (arguments.empty() || at(arguments[0]).kind != PickleKind::call) break;
      value = arguments[0];
    }
    return wrong("a parameter around no tensor");
  }

  Result<std::vector<int64_t>> whole_numbers(uint32_t value, const char* what) const {
    if (at(value).kind != PickleKind::tuple && at(value).kind != PickleKind::list) {
      return wrong(join("its ", what, " is no tuple"));
    }
    std::vector<int64_t> numbers;
    for (const uint32_t child : children(value)) {
      if (at(child).kind != PickleKind::integer || at(child).integer < 0) {
        return wrong(
            join("its ", what, " holds ", at(child).integer, "; wanted are whole numbers from 0"));
      }
      numbers.push_back(at(child).integer);
    }
    return numbers;
  }

  Status add_tensor(uint32_t value) {
    MM2_ASSIGN_OR_RETURN(value, maker(value));
    const auto arguments = children(value);  // storage, first element, size, stride, ...
    if (arguments.size() < 4 || at(arguments[0]).kind != PickleKind::storage ||
        at(arguments[1]).kind != PickleKind::integer) {
      return wrong("it is not described as torch.save does");
    }
    const auto storage_id = torch_storage(in_.pickle, arguments[0]);
    if (!storage_id.ok()) return wrong(storage_id.status().message());
    const TorchStorage& id = *storage_id;
    std::optional<Dtype> dtype = id.dtype;
    if (at(value).text == "torch._utils._rebuild_tensor_v3" && arguments.size() >= 7) {
      dtype = dtype_of_torch(at(arguments[6]).text);
    }
    if (!dtype) return wrong("its type is not known");
    MM2_ASSIGN_OR_RETURN(const std::vector<int64_t> extents, whole_numbers(arguments[2], "size"));
    MM2_ASSIGN_OR_RETURN(std::vector<int64_t> strides, whole_numbers(arguments[3], "stride"));
    if (extents.size() != strides.size())
      return wrong("it has another number of sizes than strides");
    auto shape = Shape::make(extents);
    if (!shape.ok()) return wrong(shape.status().message());
    const auto bytes = tensor_bytes(*shape, *dtype);
    if (!bytes) return wrong(join("its size ", shape->to_string(), " overflows"));

    const int64_t first = at(arguments[1]).integer;
    MM2_ASSIGN_OR_RETURN(const StoragePlace storage, place(id));
    MM2_RETURN_IF_ERROR(
        check_extent(first, extents, strides, storage.bytes / element_bytes(*dtype)));
    TorchFile::Strided strided{storage.offset, first, {}};
    if (!is_dense(extents, strides)) strided.strides = std::move(strides);
    TensorInfo info{path_, *dtype, *std::move(shape), 0, 0, *bytes};
    info.offset = storage.offset + static_cast<uint64_t>(first) * element_bytes(*dtype);
    if (!out_->by_name_.emplace(path_, out_->tensors_.size()).second) {
      return wrong("two tensors have this name");
    }
    out_->tensors_.push_back(std::move(info));
    out_->places_.push_back(std::move(strided));
    return {};
  }

  Result<StoragePlace> place(const TorchStorage& id) const {
    const auto found = in_.storages.find(as_piece(id.key));
    if (found == in_.storages.end()) {
      return wrong(join("its storage ", shown_text(id.key), " is missing"));
    }
    if (found->second.bytes < id.bytes) {
      return wrong(join("its storage ", shown_text(id.key), " has ", found->second.bytes,
                        " bytes, wanted are ", id.bytes));
    }
    return StoragePlace{found->second.offset, id.bytes};
  }

  Status check_extent(int64_t first, const std::vector<int64_t>& extents,
                      const std::vector<int64_t>& strides, uint64_t n_stored) const {
    std::optional<int64_t> last = first;
    bool empty = false;
    for (size_t i = 0; i < extents.size(); ++i) {
      empty = empty || extents[i] == 0;
      const auto way = checked_mul(std::max<int64_t>(extents[i], 1) - 1, strides[i]);
      last = last && way ? checked_add(*last, *way) : std::nullopt;
    }
    if (first >= 0 && last &&
        (static_cast<uint64_t>(*last) < n_stored ||
         (empty && static_cast<uint64_t>(first) <= n_stored)))
      return {};
    return wrong(
        join("its elements from ", first, " on reach beyond the ", n_stored, " of its storage"));
  }

  static bool is_dense(const std::vector<int64_t>& extents, const std::vector<int64_t>& strides) {
    int64_t wanted = 1;
    bool dense = true, empty = false;
    for (size_t i = extents.size(); i-- > 0;) {
      dense = dense && (extents[i] == 1 || strides[i] == wanted);
      empty = empty || extents[i] == 0;
      if (!empty) wanted *= extents[i];
    }
    return dense || empty;
  }

  // The tree, without recursion; what is shared is met once for each way to it.

  struct Level {
    uint32_t value;
    size_t next = 0;
    size_t path_bytes = 0;  // of the path to `value`
  };

  Status walk() {
    std::vector<Level> levels;
    size_t n_visits = 0;
    MM2_RETURN_IF_ERROR(enter(in_.pickle.root, levels));
    while (!levels.empty()) {
      Level& level = levels.back();
      path_.resize(level.path_bytes);
      const auto inside = children(level.value);
      const bool dict = at(level.value).kind == PickleKind::dict;
      if (level.next >= inside.size()) {
        levels.pop_back();
        continue;
      }
      if (++n_visits > kMaxVisits) {
        return error(Code::unsupported, name_, ": written out, it holds more than ", kMaxVisits,
                     " values");
      }
      const size_t i = level.next;
      level.next += dict ? 2 : 1;
      const std::string step = dict ? key_text(inside[i]) : join(i);
      if (path_.size() + step.size() + 1 > kMaxPath) {
        return error(Code::unsupported, name_, ": a name longer than ", kMaxPath, " bytes at ",
                     shown_text(path_));
      }
      path_ += join(path_.empty() ? "" : ".", step);
      MM2_RETURN_IF_ERROR(enter(inside[dict ? i + 1 : i], levels));
    }
    return {};
  }

  std::string key_text(uint32_t key) const {
    switch (at(key).kind) {
      case PickleKind::text:
        return std::string(at(key).text.substr(0, kMaxPath + 1));
      case PickleKind::integer:
        return join(at(key).integer);
      default:
        return "?";
    }
  }

  Status enter(uint32_t value, std::vector<Level>& levels) {
    switch (at(value).kind) {
      case PickleKind::tuple:
      case PickleKind::list:
      case PickleKind::dict:
        if (levels.size() >= kMaxDepth) {
          return error(Code::unsupported, name_, ": it is nested deeper than ", kMaxDepth,
                       " levels");
        }
        levels.push_back({value, 0, path_.size()});
        return {};
      case PickleKind::call:
        return add_tensor(value);
      case PickleKind::opaque: {
        if (out_->opaque_.size() < kMaxRemarks) {
          out_->opaque_.emplace_back(path_, std::string(at(value).text));
        }
        // The fields of a namespace are plain values that say how the model was trained.
        const auto state = children(value);
        const bool open = at(value).text == "argparse.Namespace" && state.size() == 1 &&
                          at(state[0]).kind == PickleKind::dict;
        return open ? enter(state[0], levels) : Status();
      }
      default:
        add_scalar(value);
        return {};
    }
  }

  void add_scalar(uint32_t value) {
    if (out_->scalars_.size() >= kMaxRemarks) return;
    const PickleValue& scalar = at(value);
    Json json;
    if (scalar.kind == PickleKind::boolean) json = scalar.flag;
    if (scalar.kind == PickleKind::integer) json = scalar.integer;
    if (scalar.kind == PickleKind::real) json = scalar.real();
    if (scalar.kind == PickleKind::text) json = shown_text(scalar.text);
    if (!json.is_null()) out_->scalars_.emplace_back(path_, std::move(json));
  }

  std::string name_;
  std::shared_ptr<TorchFile> out_;
  TorchContainer in_;
  std::string path_;
};

Result<std::shared_ptr<TorchFile>> TorchFile::open(std::shared_ptr<SourceFile> file,
                                                   const std::string& name) {
  return TorchFileReader(std::move(file), name).run();
}

const TensorInfo* TorchFile::find(std::string_view name) const {
  const auto found = by_name_.find(as_piece(name));
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

Status TorchFile::read(const TensorInfo& tensor, uint64_t from, size_t n, void* to) const {
  if (from > tensor.bytes || n > tensor.bytes - from) {
    return error(Code::invalid_argument, name_, ": tensor ", tensor.name, " has ", tensor.bytes,
                 " bytes, asked for are ", n, " from ", from);
  }
  const Strided& strided = places_[static_cast<size_t>(&tensor - tensors_.data())];
  if (n == 0) return {};
  if (strided.strides.empty()) return file_->read_at(tensor.offset + from, to, n);
  return read_strided(tensor, strided, from, n, static_cast<char*>(to));
}

Status TorchFile::read_strided(const TensorInfo& tensor, const Strided& strided, uint64_t from,
                               size_t n, char* to) const {
  const uint64_t width = element_bytes(tensor.dtype);
  constexpr uint64_t kWindow = uint64_t{1} << 16;
  std::vector<char> window;
  uint64_t window_at = 0;
  for (size_t done = 0; done < n;) {
    uint64_t element = (from + done) / width;
    const uint64_t skip = (from + done) % width;
    auto place = static_cast<uint64_t>(strided.first);
    for (int axis = tensor.shape.rank() - 1; axis >= 0; --axis) {
      const auto extent = static_cast<uint64_t>(tensor.shape[axis]);
      place += element % extent * static_cast<uint64_t>(strided.strides[static_cast<size_t>(axis)]);
      element /= extent;
    }
    const uint64_t at = strided.storage + place * width;
    if (window.empty() || at < window_at || at + width > window_at + window.size()) {
      const uint64_t left = file_->size() - at;
      window.resize(static_cast<size_t>(std::min(std::max(kWindow, width), left)));
      MM2_RETURN_IF_ERROR(file_->read_at(at, window.data(), window.size()));
      window_at = at;
    }
    const size_t take = std::min<size_t>(static_cast<size_t>(width - skip), n - done);
    std::memcpy(to + done, window.data() + (at - window_at) + skip, take);
    done += take;
  }
  return {};
}

}  // namespace mm2
