// Tensors in memory, and a matrix q that is made of them.
#pragma once

#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "quant/check.h"

namespace support {

using namespace mm2;

class Memory final : public TensorSource {
 public:
  void add(const std::string& name, Dtype dtype, const Shape& shape) {
    TensorInfo tensor{name, dtype, shape, 0, 0, tensor_bytes(shape, dtype).value()};
    data_[name] = std::string(tensor.bytes, '\0');
    tensors_.push_back(tensor);
  }
  template <typename T>
  void add(const std::string& name, Dtype dtype, const Shape& shape, const std::vector<T>& values) {
    add(name, dtype, shape);
    std::memcpy(data_[name].data(), values.data(),
                std::min(data_[name].size(), values.size() * sizeof(T)));
  }
  void add_f32(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    add(name, Dtype::f32, shape, values);
  }
  std::string& bytes(const std::string& name) { return data_.at(name); }
  template <typename T>
  T* as(const std::string& name) {
    return reinterpret_cast<T*>(bytes(name).data());
  }
  std::span<const TensorInfo> tensors() const override { return tensors_; }
  const TensorInfo* find(std::string_view name) const override {
    for (const TensorInfo& tensor : tensors_) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }
  Status read(const TensorInfo& tensor, uint64_t from, size_t n, void* to) const override {
    const std::string& data = data_.at(tensor.name);
    if (from > data.size() || n > data.size() - from) {
      return error(Code::invalid_argument, "outside of ", tensor.name);
    }
    std::memcpy(to, data.data() + from, n);
    return {};
  }
  const std::byte* map(const TensorInfo& tensor) const override {
    if (mapped_from < 0) return nullptr;
    const std::string& data = data_.at(tensor.name);
    std::string& file = files_[tensor.name];
    if (file.empty()) file = std::string(static_cast<size_t>(mapped_from), '?') + data;
    return reinterpret_cast<const std::byte*>(file.data() + mapped_from);
  }
  std::string_view file_of(const TensorInfo&) const override { return "memory"; }

  void let_go(const TensorInfo& tensor, uint64_t from, uint64_t n) const override {
    gone.push_back({tensor.name, from, n});
  }

  struct Gone {
    std::string tensor;
    uint64_t from, n;
  };
  mutable std::vector<Gone> gone;

  int64_t mapped_from = -1;  // where each tensor begins in its file, -1: none can be mapped

 private:
  mutable std::map<std::string, std::string> files_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::string> data_;
};

inline WeightPlace place_of(int64_t rows, int64_t cols) {
  WeightPlace place;
  place.role = Role::q_proj;
  place.layer = 0;
  place.stem = "q";
  place.name = "q.weight";
  place.found = true;
  place.shape = place.stored = Shape{rows, cols};
  return place;
}

inline QuantConfig method(const std::string& name, int32_t group = 0,
                          const std::string& layout = "") {
  QuantConfig config;
  config.what = "config.json";
  config.method = name;
  config.words.group_size = group;
  config.layout = layout;
  return config;
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace support
