// Weights of the true shape on a device, of random codes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda_check/model.h"

namespace check {

mm2::kernels::ModelShape true_shape(int32_t n_layers, int32_t n_experts);
mm2::kernels::ModelShape tiny_shape();
mm2::kernels::Format format_named(const std::string& quant);

class SyntheticModel {
 public:
  SyntheticModel(const Plugin& plugin, const mm2::kernels::ModelShape& shape,
                 mm2::kernels::Format format);
  ~SyntheticModel();
  SyntheticModel(const SyntheticModel&) = delete;
  SyntheticModel& operator=(const SyntheticModel&) = delete;

  mm2::kernels::DeviceModel* handle() const { return handle_; }
  int64_t packed_bytes() const { return packed_bytes_; }
  double packing_seconds() const { return packing_seconds_; }

 private:
  mm2::kernels::Matrix add(int64_t n_out, int64_t n_in, mm2::kernels::Format format);
  mm2::kernels::Matrix add_plain(int64_t n_out, int64_t n_in, int32_t number, bool is_packed);
  const float* add_vector(int64_t n, float mean = 1.0f, float deviation = 0.1f);
  char* take(int64_t n);

  const Plugin& plugin_;
  Random random_{11};
  Tables tables_;
  std::vector<std::unique_ptr<Memory>> memory_;
  std::vector<char> bytes_;
  std::vector<float> floats_;
  int64_t packed_bytes_ = 0;
  double packing_seconds_ = 0;
  mm2::kernels::DeviceModel* handle_ = nullptr;
};

}  // namespace check
