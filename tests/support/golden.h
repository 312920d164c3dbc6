// Reads the golden models of tests/data/models: prompts, expected tensors, and how far two sets of
// logits are apart.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "format/checkpoint.h"

#include <catch2/catch.hpp>

namespace golden {

inline const std::string kModels = std::string(MM2_TEST_DATA) + "/models/";

inline mm2::Json read_json(const std::string& path) {
  std::ifstream file(path);
  REQUIRE(file.good());
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  auto json = mm2::parse_json(text, path);
  REQUIRE(json.ok());
  return *std::move(json);
}

/// The tensors of one safetensors file as float.
class Tensors {
 public:
  explicit Tensors(const std::string& path) {
    auto opened = mm2::Checkpoint::open(path, mm2::Host{});
    INFO(opened.status().message());
    REQUIRE(opened.ok());
    file_ = *opened;
  }
  template <typename T = float>
  std::vector<T> read(const std::string& name) const {
    const mm2::TensorInfo* info = file_->find(name);
    INFO(name);
    REQUIRE(info != nullptr);
    std::vector<T> values(info->bytes / sizeof(T));
    REQUIRE(file_->read(*info, 0, info->bytes, values.data()).ok());
    return values;
  }

 private:
  std::shared_ptr<mm2::Checkpoint> file_;
};

struct Prompt {
  std::string name;  // "tight_0"
  std::vector<int32_t> ids;
  int32_t first_position;  // of the stored logits
};

/// Folders whose weights are quantised; all are of the wide base model, as bf16 is.
inline const std::vector<std::string> kQuantised = {
    "autoround",     "awq",      "awq_tool_names", "ct_mixed", "ct_mxfp4",
    "ct_nvfp4",      "ct_w4a16", "ct_w4a16_asym",  "fp8",      "gptq",
    "gptq_desc_act", "gptq_v2",  "nvfp4_modelopt"};

inline bool is_wide(const std::string& folder) {
  return folder == "bf16" ||
         std::find(kQuantised.begin(), kQuantised.end(), folder) != kQuantised.end();
}

/// `set` is "tight" or "natural".
inline std::vector<Prompt> prompts(const std::string& folder, const std::string& set) {
  const std::string size = is_wide(folder) ? "wide" : "small";
  const mm2::Json all = read_json(kModels + "prompts.json");
  const mm2::Json info = read_json(kModels + folder + "/expected/info.json");
  std::vector<Prompt> result;
  for (const auto& ids : all[size][set]) {
    const std::string name = set + "_" + std::to_string(result.size());
    result.push_back({name, ids.get<std::vector<int32_t>>(), info[name]["first_position"]});
  }
  return result;
}

/// KL(p || q) in nats of one row of logits each, in double.
inline double kl(const float* p, const float* q, size_t n) {
  const auto log_sum = [n](const float* x) {
    double top = x[0];
    for (size_t i = 1; i < n; ++i) top = std::max<double>(top, x[i]);
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += std::exp(x[i] - top);
    return top + std::log(sum);
  };
  const double lp = log_sum(p);
  const double lq = log_sum(q);
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += std::exp(p[i] - lp) * ((p[i] - lp) - (q[i] - lq));
  return sum;
}

struct Distance {
  double max_abs = 0;
  double kl_sum = 0;
  size_t rows = 0;
  double mean_kl() const { return kl_sum / static_cast<double>(rows); }
  void add(const float* want, const float* got, size_t n_rows, size_t n_vocab) {
    for (size_t r = 0; r < n_rows; ++r) {
      for (size_t i = r * n_vocab; i < (r + 1) * n_vocab; ++i) {
        max_abs = std::max(max_abs, std::abs(double{want[i]} - double{got[i]}));
      }
      kl_sum += kl(want + r * n_vocab, got + r * n_vocab, n_vocab);
    }
    rows += n_rows;
  }
};

}  // namespace golden
