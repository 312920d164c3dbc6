// A copy of a golden model with something changed in it.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "format/atomic_writer.h"
#include "format/checkpoint.h"
#include "support/golden.h"
#include "unit/format/temp_folder.h"

namespace support {

/// All tensors of a folder of tests/data/models and its config.json, to be changed and written as
/// one file.
class EditedModel {
 public:
  struct Tensor {
    std::string name;
    mm2::Dtype dtype;
    mm2::Shape shape;
    std::string bytes;
    template <typename T>
    T* as() {
      return reinterpret_cast<T*>(bytes.data());
    }
  };

  explicit EditedModel(const std::string& folder)
      : config(golden::read_json(golden::kModels + folder + "/config.json")) {
    auto opened = mm2::Checkpoint::open(golden::kModels + folder, mm2::Host{});
    REQUIRE(opened.ok());
    for (const mm2::TensorInfo& info : (*opened)->tensors()) {
      Tensor tensor{info.name, info.dtype, info.shape, std::string(info.bytes, '\0')};
      REQUIRE((*opened)->read(info, 0, info.bytes, tensor.bytes.data()).ok());
      tensors.push_back(std::move(tensor));
    }
  }

  Tensor& at(const std::string& name) {
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const Tensor& tensor) { return tensor.name == name; });
    INFO(name);
    REQUIRE(found != tensors.end());
    return *found;
  }
  /// Removes every tensor whose name begins so.
  void drop(const std::string& start) {
    const size_t before = tensors.size();
    std::erase_if(tensors, [&](const Tensor& tensor) { return tensor.name.starts_with(start); });
    INFO(start);
    REQUIRE(tensors.size() < before);
  }
  void rename(const std::string& from, const std::string& to) { at(from).name = to; }
  void add(const std::string& name, mm2::Dtype dtype, const mm2::Shape& shape,
           const std::string& bytes) {
    tensors.push_back({name, dtype, shape, bytes});
  }
  /// Gives a tensor another shape; its bytes are cut or filled up with zeros.
  void reshape(const std::string& name, const mm2::Shape& shape) {
    Tensor& tensor = at(name);
    tensor.shape = shape;
    tensor.bytes.resize(mm2::tensor_bytes(shape, tensor.dtype).value());
  }
  mm2::Json& quant() { return config["quantization_config"]; }

  /// The folder that it is written to.
  const std::string& save() {
    folder_.write("config.json", config.dump());
    std::vector<mm2::SafetensorsWriter::Tensor> header;
    for (const Tensor& tensor : tensors)
      header.push_back({tensor.name, tensor.dtype, tensor.shape});
    auto writer = mm2::SafetensorsWriter::create(folder_ / "model.safetensors", header);
    REQUIRE(writer.ok());
    for (const Tensor& tensor : tensors) {
      REQUIRE((*writer)->append(tensor.bytes.data(), tensor.bytes.size()).ok());
    }
    REQUIRE((*writer)->publish().ok());
    return folder_.path();
  }
  const TempFolder& folder() const { return folder_; }

  mm2::Json config;
  std::vector<Tensor> tensors;

 private:
  TempFolder folder_;
};

}  // namespace support
