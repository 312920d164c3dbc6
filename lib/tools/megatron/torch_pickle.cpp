#include <bit>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "tools/megatron/pickle_ops.h"
#include "tools/megatron/torch_container.h"
#include "tools/megatron/torch_writer.h"

namespace mm2 {

namespace {

std::string little(uint64_t value, int n) {
  std::string bytes;
  for (int i = 0; i < n; ++i) bytes += static_cast<char>(value >> 8 * i & 0xFF);
  return bytes;
}

// Protocol 2. Names that come again are taken from the memo.
class PickleWriter {
 public:
  PickleWriter() {
    op(kProto);
    op(2);
  }

  void op(uint8_t letter) { out_ += static_cast<char>(letter); }

  void text(std::string_view value) {
    op(kBinUnicode);
    out_ += little(value.size(), 4);
    out_.append(value);
  }
  void known_text(std::string_view value) {
    remembered(join("t", value), [&] { text(value); });
  }
  void name(std::string_view module, std::string_view of) {
    remembered(join("n", module, ".", of), [&] {
      op(kGlobal);
      out_ += join(module, "\n", of, "\n");
    });
  }
  void integer(int64_t value) {
    if (value >= 0 && value < 256) {
      op(kBinInt1);
      out_ += little(static_cast<uint64_t>(value), 1);
    } else if (value >= INT32_MIN && value <= INT32_MAX) {
      op(kBinInt);
      out_ += little(static_cast<uint64_t>(value), 4);
    } else {
      op(kLong1);
      out_ += little(8, 1);
      out_ += little(static_cast<uint64_t>(value), 8);
    }
  }
  void real(double value) {
    const auto bits = std::bit_cast<uint64_t>(value);
    op(kBinFloat);
    for (int i = 7; i >= 0; --i) out_ += static_cast<char>(bits >> 8 * i & 0xFF);
  }
  void integers(std::span<const int64_t> values) {
    op(kMark);
    for (const int64_t value : values) integer(value);
    op(kTuple);
  }

  std::string take() && { return std::move(out_); }

 private:
  template <typename F>
  void remembered(const std::string& key, F&& write) {
    const auto found = memo_.find(key);
    if (found != memo_.end()) {
      op(kLongBinGet);
      out_ += little(found->second, 4);
      return;
    }
    write();
    op(kLongBinPut);
    out_ += little(memo_.size(), 4);
    memo_.emplace(key, static_cast<uint32_t>(memo_.size()));
  }

  std::string out_;
  absl::flat_hash_map<std::string, uint32_t> memo_;
};

// torch._utils._rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict()), or v3 over bytes with
// the type at the end for those that have no storage class.
Status write_tensor(PickleWriter& out, const TorchContents::Tensor& tensor, size_t key) {
  const TorchTypeNames names = torch_names_of(tensor.dtype);
  if (names.dtype.empty()) {
    return error(Code::unsupported, "tensor ", tensor.name, ": torch has no type ",
                 dtype_name(tensor.dtype));
  }
  const auto bytes = tensor_bytes(tensor.shape, tensor.dtype);
  if (!bytes || *bytes > INT64_MAX) {
    return error(Code::invalid_argument, "tensor ", tensor.name, ": its size ",
                 tensor.shape.to_string(), " overflows");
  }
  const bool typed = !names.storage.empty();
  out.name("torch._utils", typed ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
  out.op(kMark);
  out.op(kMark);
  out.known_text("storage");
  if (typed) {
    out.name("torch", names.storage);
  } else {
    out.name("torch.storage", "UntypedStorage");
  }
  out.text(join(key));
  out.known_text("cpu");
  out.integer(typed ? tensor.shape.n_elements() : static_cast<int64_t>(*bytes));
  out.op(kTuple);
  out.op(kBinPersid);
  out.integer(0);
  out.integers(tensor.shape.extents());
  std::vector<int64_t> strides(static_cast<size_t>(tensor.shape.rank()));
  int64_t stride = 1;
  for (size_t axis = strides.size(); axis-- > 0;) {
    strides[axis] = stride;
    stride *= std::max<int64_t>(1, tensor.shape[static_cast<int>(axis)]);
  }
  out.integers(strides);
  out.op(kNewFalse);
  out.name("collections", "OrderedDict");
  out.op(kEmptyTuple);
  out.op(kReduce);
  if (!typed) out.name("torch", names.dtype);
  out.op(kTuple);
  out.op(kReduce);
  return {};
}

Status write_scalar(PickleWriter& out, const std::string& name, const Json& value) {
  if (value.is_boolean()) {
    out.op(value.get<bool>() ? kNewTrue : kNewFalse);
  } else if (value.is_number_integer() &&
             !(value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX})) {
    out.integer(value.get<int64_t>());
  } else if (value.is_number_float()) {
    out.real(value.get<double>());
  } else if (value.is_string()) {
    out.text(value.get_ref<const std::string&>());
  } else {
    return error(Code::invalid_argument, name, " is neither number nor text nor truth value");
  }
  return {};
}

}  // namespace

Result<std::string> torch_pickle(const TorchContents& contents) {
  PickleWriter out;
  absl::flat_hash_set<std::string> keys;
  const auto key = [&](const std::string& path, const std::string& name) -> Status {
    if (!keys.insert(join(path, "\n", name)).second) {
      return error(Code::invalid_argument, "two values of a torch file are called ", path,
                   path.empty() ? "" : ".", name);
    }
    out.text(name);
    return {};
  };
  out.op(kEmptyDict);
  out.op(kMark);
  for (const auto& [name, value] : contents.scalars) {
    MM2_RETURN_IF_ERROR(key("", name));
    MM2_RETURN_IF_ERROR(write_scalar(out, name, value));
  }
  size_t storage = 0;
  for (const TorchContents::Group& group : contents.groups) {
    MM2_RETURN_IF_ERROR(key("", group.name));
    out.op(kEmptyDict);
    out.op(kMark);
    for (const TorchContents::Tensor& tensor : group.tensors) {
      MM2_RETURN_IF_ERROR(key(group.name, tensor.name));
      MM2_RETURN_IF_ERROR(write_tensor(out, tensor, storage++));
    }
    out.op(kSetItems);
  }
  out.op(kSetItems);
  out.op(kStop);
  return std::move(out).take();
}

}  // namespace mm2
