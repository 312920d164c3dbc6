// Files of a checkpoint. The first byte: 0 a whole .safetensors file, 1 the header of one (its
// length is put in front, and data behind it), 2 an index over two good shards.
#include <algorithm>

#include "format/checkpoint.h"
#include "format/safetensors.h"
#include "fuzz/input.h"
#include "fuzz/memory_source.h"
#include "fuzz/property.h"

using namespace mm2;
using fuzz::require;

namespace {

constexpr uint64_t kDataBytes = 64;

std::string file_with(std::string_view header) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> 8 * i & 0xFF);
  return out.append(header).append(kDataBytes, '\x3F');
}

void check(const TensorSource& source, uint64_t file_bytes) {
  uint64_t at = 0;
  int32_t shard = -1;
  for (const TensorInfo& tensor : source.tensors()) {
    require(source.find(tensor.name) == &tensor, "a tensor is found by its name", tensor.name);
    require(tensor.offset <= file_bytes && tensor.bytes <= file_bytes - tensor.offset,
            "a tensor lies in its file", tensor.name);
    if (tensor.shard != shard) at = 0;
    shard = tensor.shard;
    require(tensor.offset >= at, "tensors do not overlap", tensor.name);
    at = tensor.offset + tensor.bytes;
    std::string bytes(static_cast<size_t>(std::min<uint64_t>(tensor.bytes, 256)), '\0');
    require(source.read(tensor, 0, bytes.size(), bytes.data()).ok(), "its data can be read",
            tensor.name);
    require(!source.read(tensor, tensor.bytes, 1, bytes.data()).ok(), "nothing behind it can",
            tensor.name);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input in(data, size);
  const size_t how = in.below(3);
  const std::string_view text = in.rest();
  if (how == 2) {
    const std::string a = file_with(R"({"a":{"dtype":"F32","shape":[4,4],"data_offsets":[0,64]}})");
    const std::string b = file_with(R"({"b":{"dtype":"BF16","shape":[32],"data_offsets":[0,64]}})");
    const auto opened = Checkpoint::open(
        "m", fuzz::host_with({{"m/model.safetensors.index.json", std::string(text)},
                              {"m/one.safetensors", a},
                              {"m/two.safetensors", b}}));
    if (!opened.ok()) {
      fuzz::require_told(opened.status(), {Code::format, Code::not_found, Code::unsupported});
      return 0;
    }
    check(**opened, a.size());
    return 0;
  }
  const std::string file = how == 1 ? file_with(text) : std::string(text);
  const auto opened =
      SafetensorsFile::open("m.safetensors", fuzz::host_with({{"m.safetensors", file}}));
  if (!opened.ok()) {
    fuzz::require_told(opened.status(), {Code::format, Code::unsupported});
    return 0;
  }
  check(**opened, file.size());
  return 0;
}
