// Files of torch.save. The first byte: 0 a whole file, 1 the pickle of an archive with two storages (the
// archive is put around it), 2 an old file from its object on (what stands before is put in front).
#include <algorithm>
#include <cstring>

#include "fuzz/input.h"
#include "fuzz/memory_source.h"
#include "fuzz/property.h"
#include "tools/megatron/torch_file.h"
#include "tools/megatron/zip_index.h"

using namespace mm2;
using fuzz::require;

namespace {

std::string little(uint64_t value, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += static_cast<char>(value >> 8 * i & 0xFF);
  return out;
}

struct Entry {
  std::string name, data;
};

std::string archive(const std::vector<Entry>& entries) {
  std::string file, directory;
  for (const Entry& entry : entries) {
    const std::string sizes = little(crc32(0, entry.data.data(), entry.data.size()), 4) +
                              little(entry.data.size(), 4) + little(entry.data.size(), 4);
    const std::string common = little(0, 4) + little(0, 4) + sizes + little(entry.name.size(), 2);
    directory += "PK\1\2" + little(20, 2) + little(20, 2) + common + little(0, 2) + little(0, 2) +
                 little(0, 2) + little(0, 2) + little(0, 4) + little(file.size(), 4) + entry.name;
    file += "PK\3\4" + little(20, 2) + common + little(0, 2) + entry.name + entry.data;
  }
  return file + directory + "PK\5\6" + little(0, 4) + little(entries.size(), 2) +
         little(entries.size(), 2) + little(directory.size(), 4) + little(file.size(), 4) +
         little(0, 2);
}

std::string made(size_t how, std::string_view rest) {
  if (how == 0) return std::string(rest);
  if (how == 1) {
    return archive({{"a/data.pkl", std::string(rest)},
                    {"a/byteorder", "little"},
                    {"a/data/0", std::string(240, '\1')},
                    {"a/data/1", std::string(64, '\2')}});
  }
  using namespace std::string_view_literals;
  return std::string(
             "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
             "\x80\x02M\xe9\x03.\x80\x02}."sv) +
         std::string(rest);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input in(data, size);
  const size_t how = in.below(3);
  const std::string file = made(how, in.rest());
  const Host host = fuzz::host_with({{"m.pt", file}});
  const auto source = host.source->open("m.pt");
  const auto opened = TorchFile::open(*source, "m.pt");
  if (!opened.ok()) {
    // Never Code::io: nothing is read outside of the file.
    fuzz::require_told(opened.status(), {Code::format, Code::unsupported});
    return 0;
  }
  for (const TensorInfo& tensor : (*opened)->tensors()) {
    require((*opened)->find(tensor.name) == &tensor, "a tensor is found by its name", tensor.name);
    const auto n = static_cast<size_t>(std::min<uint64_t>(tensor.bytes, 256));
    std::string first(n, '\0'), last(n, '\0');
    require((*opened)->read(tensor, 0, n, first.data()).ok(), "its data can be read", tensor.name);
    require((*opened)->read(tensor, tensor.bytes - n, n, last.data()).ok(), "its end can be read",
            tensor.name);
    require(!(*opened)->read(tensor, tensor.bytes, 1, first.data()).ok(), "nothing behind it can",
            tensor.name);
  }
  return 0;
}
