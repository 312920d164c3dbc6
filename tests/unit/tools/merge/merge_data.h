// Tensors of tests/data/tools as floats, with their type.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "support/golden.h"
#include "tensor/convert.h"

namespace merge_data {

inline const std::string kTools = std::string(MM2_TEST_DATA) + "/tools/";

struct Tensor {
  mm2::Dtype dtype = mm2::Dtype::f32;
  mm2::Shape shape;
  std::vector<float> values;
};

class File {
 public:
  explicit File(const std::string& path) {
    auto opened = mm2::Checkpoint::open(path, mm2::Host{});
    INFO(opened.status().message());
    REQUIRE(opened.ok());
    file_ = *opened;
  }
  bool has(const std::string& name) const { return file_->find(name) != nullptr; }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const mm2::TensorInfo& info : file_->tensors()) names.push_back(info.name);
    return names;
  }
  template <typename T>
  std::vector<T> raw(const std::string& name) const {
    const mm2::TensorInfo* info = file_->find(name);
    INFO(name);
    REQUIRE(info != nullptr);
    std::vector<T> values(info->bytes / sizeof(T));
    REQUIRE(file_->read(*info, 0, info->bytes, values.data()).ok());
    return values;
  }
  Tensor read(const std::string& name) const {
    INFO(name);
    const mm2::TensorInfo* info = file_->find(name);
    REQUIRE(info != nullptr);
    Tensor tensor{info->dtype, info->shape, {}};
    if (info->dtype == mm2::Dtype::f32) {
      tensor.values = raw<float>(name);
    } else {
      REQUIRE(info->dtype == mm2::Dtype::bf16);
      for (const uint16_t bits : raw<uint16_t>(name))
        tensor.values.push_back(mm2::bf16_to_f32(bits));
    }
    return tensor;
  }

 private:
  std::shared_ptr<mm2::Checkpoint> file_;
};

}  // namespace merge_data
