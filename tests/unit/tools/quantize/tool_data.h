// Tensors that the quantizers of others made, and how ours are compared with them.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "format/checkpoint.h"
#include "quant/scales.h"
#include "support/golden.h"
#include "tools/quantize/quantize.h"

#include <catch2/catch.hpp>

namespace support {

/// A file of tests/data/tools.
class ToolFile {
 public:
  explicit ToolFile(const std::string& name) {
    auto opened = mm2::Checkpoint::open(std::string(MM2_TEST_DATA) + "/tools/" + name, mm2::Host{});
    INFO(opened.status().message());
    REQUIRE(opened.ok());
    file_ = *opened;
  }

  bool has(const std::string& name) const { return file_->find(name) != nullptr; }
  const mm2::TensorInfo& info(const std::string& name) const {
    const mm2::TensorInfo* info = file_->find(name);
    INFO(name);
    REQUIRE(info != nullptr);
    return *info;
  }
  template <typename T>
  std::vector<T> read(const std::string& name) const {
    const mm2::TensorInfo& tensor = info(name);
    std::vector<T> values(tensor.bytes / sizeof(T));
    REQUIRE(file_->read(tensor, 0, tensor.bytes, values.data()).ok());
    return values;
  }
  /// F32, F16, BF16, E4M3 or E8M0 as F32.
  std::vector<float> floats(const std::string& name) const {
    const mm2::TensorInfo& tensor = info(name);
    const auto raw = read<std::byte>(name);
    std::vector<float> values(static_cast<size_t>(tensor.shape.n_elements()));
    mm2::widen_scales(tensor.dtype, raw.data(), tensor.shape.n_elements(), values.data());
    return values;
  }

 private:
  std::shared_ptr<mm2::Checkpoint> file_;
};

/// The cases that a file of figures lists.
inline mm2::Json cases(const std::string& name) {
  return golden::read_json(std::string(MM2_TEST_DATA) + "/tools/" + name).at("cases");
}

/// A matrix and the view of it that quantizers take.
struct Matrix {
  std::vector<float> values;
  int64_t n_rows = 0, n_cols = 0;

  Matrix() = default;
  Matrix(const ToolFile& file, const std::string& name)
      : values(file.floats(name)),
        n_rows(file.info(name).shape.n_rows()),
        n_cols(file.info(name).shape.n_cols()) {}
  Matrix(int64_t rows, int64_t cols)
      : values(static_cast<size_t>(rows * cols)), n_rows(rows), n_cols(cols) {}

  mm2::WeightRows rows() const { return {values.data(), n_rows, n_cols, 0}; }
  mm2::WeightRows rows(int64_t first, int64_t n) const {
    return {values.data() + first * n_cols, n, n_cols, first};
  }
  size_t size() const { return values.size(); }
};

/// How many of two lists differ. Bytes are compared as they are, floats too: -0 is not 0.
template <typename T>
int64_t n_different(const std::vector<T>& a, const std::vector<T>& b) {
  REQUIRE(a.size() == b.size());
  int64_t n = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    n += std::memcmp(&a[i], &b[i], sizeof(T)) == 0 ? 0 : 1;
  }
  return n;
}

/// Signed codes counted from 0, unsigned ones as they are.
inline std::vector<uint8_t> counted_from_zero(const ToolFile& file, const std::string& name,
                                              int bits) {
  auto codes = file.read<uint8_t>(name);
  if (file.info(name).dtype == mm2::Dtype::i8) {
    for (uint8_t& code : codes) code = static_cast<uint8_t>(code + (1 << (bits - 1)));
  }
  return codes;
}

}  // namespace support
