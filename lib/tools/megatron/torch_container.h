// The file around a pickle of torch.save: an archive, or the old sequence of pickles.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "base/host.h"
#include "base/status.h"
#include "tensor/dtype.h"
#include "tools/megatron/pickle.h"

namespace mm2 {

struct StoragePlace {
  uint64_t offset = 0;  // in the file
  uint64_t bytes = 0;
};

struct TorchContainer {
  std::string text;  // what the pickle was read from
  Pickle pickle;
  absl::flat_hash_map<std::string, StoragePlace> storages;  // by key
};

/// Finds pickle and storages. `out` must stay where it is: the pickle points into its text.
Status read_torch_container(const SourceFile& file, const std::string& name, TorchContainer& out);

/// A storage as a pickle describes it.
struct TorchStorage {
  std::string_view key;
  std::optional<Dtype> dtype;  // nothing: bytes without a type
  int64_t n_elements = 0;
  uint64_t bytes = 0;
};
Result<TorchStorage> torch_storage(const Pickle& pickle, uint32_t value);

/// "torch.bfloat16"
std::optional<Dtype> dtype_of_torch(std::string_view name);

struct TorchTypeNames {
  std::string_view storage;  // "BFloat16Storage"; empty: such tensors lie in bytes without a type
  std::string_view dtype;    // "bfloat16"; empty: torch has no such type
};
TorchTypeNames torch_names_of(Dtype dtype);

/// Torch has no types below a byte.
inline uint64_t element_bytes(Dtype dtype) {
  return static_cast<uint64_t>(dtype_bits(dtype)) / 8;
}

/// Text of a file as it may stand in a message.
std::string shown_text(std::string_view text);

}  // namespace mm2
