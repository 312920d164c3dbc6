// A small model with random weights: on the host as numbers and packed for the generic CPU kernels, and
// on a device.
#pragma once

#include <memory>
#include <vector>

#include "cuda_check/plugin.h"
#include "cuda_check/weights.h"

namespace check {

/// Memory of the host, aligned to 64 bytes.
class Bytes {
 public:
  explicit Bytes(int64_t n);
  char* data() const { return data_.get(); }
  int64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(char* p) const;
  };
  int64_t size_;
  std::unique_ptr<char, Free> data_;
};

struct HostLayer {
  HostMatrix q, k, v, o, router;
  std::vector<HostMatrix> gate, up, down;  // [n_experts]
  std::vector<float> input_norm, q_norm, k_norm, post_attention_norm, router_bias;
};

struct HostModel {
  /// format: of attention, experts and head.
  HostModel(uint64_t seed, const mm2::kernels::ModelShape& shape, mm2::kernels::Format format);

  mm2::kernels::ModelShape shape;
  HostMatrix embedding;
  std::vector<HostLayer> layers;
  std::vector<float> final_norm;
  HostMatrix lm_head;
};

/// The tables that kernels take, with memory behind them.
struct Tables {
  mm2::kernels::ModelWeights weights{};
  std::vector<mm2::kernels::LayerWeights> layers;
  std::vector<mm2::kernels::ExpertWeights> experts;
};

/// Packed by a backend of the CPU.
class CpuModel {
 public:
  CpuModel(const HostModel& host, const mm2::kernels::Backend& backend);
  const Tables& tables() const { return tables_; }

 private:
  Tables tables_;
  std::vector<Bytes> memory_;
};

/// Packed on the device, in pieces of rows as a loader does.
class GpuModel {
 public:
  GpuModel(const HostModel& host, const Plugin& plugin);
  ~GpuModel();
  GpuModel(const GpuModel&) = delete;
  GpuModel& operator=(const GpuModel&) = delete;
  mm2::kernels::DeviceModel* handle() const { return handle_; }

 private:
  const Plugin& plugin_;
  Tables tables_;
  std::vector<std::unique_ptr<Memory>> memory_;
  mm2::kernels::DeviceModel* handle_ = nullptr;
};

/// Whether packing on the device, in pieces, gives the bytes that Backend::pack gives at once; throws
/// DeviceFailure where the format is not supported.
bool packs_alike(const Plugin& plugin, const HostMatrix& matrix);

}  // namespace check
