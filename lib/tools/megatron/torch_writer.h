// A file that torch.load(weights_only=True) reads, written front to back: the sizes of all tensors are
// known first, so everything but their bytes goes out before them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace mm2 {

/// A dict of dicts: {scalars..., group name: {tensor name: tensor, ...}, ...}.
struct TorchContents {
  struct Tensor {
    std::string name;
    Dtype dtype = Dtype::f32;
    Shape shape;
  };
  struct Group {
    std::string name;  // "model"
    std::vector<Tensor> tensors;
  };
  std::vector<std::pair<std::string, Json>> scalars;  // numbers, text, truth values
  std::vector<Group> groups;
};

class TorchWriter {
 public:
  using Append = std::function<Status(const void* data, size_t n)>;

  /// Writes everything that stands before the first tensor. Code::unsupported: types that torch does
  /// not have; Code::invalid_argument: names that occur twice, sizes that overflow.
  static Result<TorchWriter> begin(const TorchContents& contents, Append append);
  /// The next bytes of the tensors, group by group in their order, in pieces of any size; each tensor
  /// begins at a multiple of 64 bytes of the file. More than they need is Code::invalid_argument.
  Status append(const void* data, size_t n);
  /// Writes the directory. Code::invalid_argument while bytes are missing.
  Status finish();

  uint64_t written() const { return written_; }

 private:
  struct Entry {
    std::string name;
    uint64_t bytes = 0;
    uint64_t header = 0;  // where its header lies
    uint32_t crc = 0;
  };
  explicit TorchWriter(Append append) : append_(std::move(append)) {}
  Status put(const std::string& bytes);
  Status open_entry(Entry entry);
  Status close_entry();
  Status whole_entry(const std::string& name, const std::string& bytes);
  Status next_tensor();

  Append append_;
  uint64_t written_ = 0;
  std::vector<Entry> entries_;
  std::vector<uint64_t> tensor_bytes_;
  size_t n_begun_ = 0;    // tensors
  uint64_t missing_ = 0;  // bytes of the open tensor
  bool open_ = false;
};

/// The pickle of such a file; tensor i of all groups lies in the storage called i.
Result<std::string> torch_pickle(const TorchContents& contents);

}  // namespace mm2
