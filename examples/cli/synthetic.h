// A checkpoint of true shape and random weights that exists only while it is read: what speed is
// measured on where nobody has 230 GB. It reaches the library as any host's files do, through
// mm2_source.
#pragma once

#include <mm2/mm2.h>

#include <cstdint>
#include <string>
#include <vector>

#include "json_io.h"

namespace cli {

class SyntheticModel {
 public:
  static constexpr int64_t kVocab = 200064;

  /// shape: "m2" (256 experts) or "m2-reap" (192); quant: "w4", "fp8", "nvfp4" or "bf16". Throws
  /// Failure for other words.
  SyntheticModel(const std::string& shape, const std::string& quant, int32_t n_layers,
                 int64_t n_vocab);

  /// Valid while this object lives and stays where it is.
  mm2_source source();
  /// The path to load.
  const std::string& path() const { return path_; }

 private:
  /// Bytes are 64-bit random words: (word & keep) | set.
  struct Kind {
    uint64_t keep, set;
  };
  struct Tensor {
    uint64_t begin, end;  // in the data of the file
    Kind kind;
  };
  struct File;

  void add(const std::string& name, const char* dtype, std::vector<int64_t> shape, Kind kind);
  void add_plain(const std::string& name, std::vector<int64_t> shape);
  void add_linear(const std::string& stem, int64_t n_out, int64_t n_in, bool expert);
  void add_layer(int32_t layer);
  void fill(uint64_t offset, char* to, size_t n) const;

  static mm2_status open(void* self, const char* name, void** file, uint64_t* size, mm2_error* err);
  static mm2_status read_at(void* self, void* file, uint64_t offset, void* to, size_t n,
                            mm2_error* err);

  std::string path_, quant_, config_;
  int64_t n_experts_;
  Json header_ = Json::object();
  std::vector<Tensor> tensors_;
  std::string head_;  // the file up to its data
  uint64_t data_bytes_ = 0;
};

}  // namespace cli
