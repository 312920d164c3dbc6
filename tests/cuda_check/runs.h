// Steps on a device and on the generic CPU kernels, with everything that the observer saw.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cuda_check/model.h"

namespace check {

/// Values by name and layer: [rows, width].
struct Seen {
  struct Values {
    std::vector<float> numbers;
    std::vector<int32_t> ids;
    int64_t width = 0;
  };
  std::map<std::pair<std::string, int32_t>, Values> values;
  std::vector<float> logits;

  const Values* find(const std::string& name, int32_t layer) const;
  static void see(void* self, const char* name, int32_t layer, const void* values, int32_t number,
                  int64_t n_rows, int64_t width);
};

/// One sequence's part of a step.
struct Part {
  int32_t sequence;
  std::vector<int32_t> tokens;
  int32_t n_outputs;
};

/// How an engine is made.
struct Setup {
  int32_t kv_number = mm2::kernels::kBF16;
  int32_t activations = mm2::kernels::kBF16;
  int32_t kernels = mm2::kernels::kSimple;
  int32_t max_tokens = 256;
  int32_t blocks_per_sequence = 4;
};

constexpr int32_t kSequences = 4;

/// The same steps for both: lengths of sequences, blocks in disorder, scales of an FP8 cache.
class Runner {
 public:
  Runner(const mm2::kernels::ModelShape& shape, const Setup& setup);
  virtual ~Runner() = default;
  /// Everything of a step; throws DeviceFailure.
  Seen step(const std::vector<Part>& parts, bool sees_all = true);
  void forget(int32_t sequence) { lengths_[static_cast<size_t>(sequence)] = 0; }
  int32_t length(int32_t sequence) const { return lengths_[static_cast<size_t>(sequence)]; }
  /// Stored numbers of positions [0, n) of a sequence: as Backend::read_positions.
  virtual std::vector<char> stored(int32_t sequence, int32_t n) = 0;
  float scale(bool is_value, int32_t layer, int32_t head) const;
  const Setup& setup() const { return setup_; }

 protected:
  virtual void run(mm2::kernels::StepPlan& plan) = 0;
  mm2::kernels::StepRow row_of(int32_t sequence) const;
  int32_t n_blocks() const { return kSequences * setup_.blocks_per_sequence; }
  mm2::kernels::KvCache cache(const mm2::kernels::Backend& backend, void* data) const;
  int64_t position_bytes() const;

  mm2::kernels::ModelShape shape_;
  Setup setup_;

 private:
  std::vector<int32_t> blocks_;  // [kSequences, blocks_per_sequence]
  std::vector<int32_t> lengths_;
  std::vector<float> k_scales_, v_scales_;  // [n_layers, n_kv_heads]
};

class CpuRunner final : public Runner {
 public:
  CpuRunner(const HostModel& host, const Setup& setup);
  std::vector<char> stored(int32_t sequence, int32_t n) override;

 private:
  void run(mm2::kernels::StepPlan& plan) override;
  const mm2::kernels::Backend& backend_;
  CpuModel model_;
  Bytes kv_memory_, scratch_;
  mm2::kernels::KvCache kv_;
};

class GpuRunner final : public Runner {
 public:
  GpuRunner(const Plugin& plugin, const GpuModel& model, const HostModel& host, const Setup& setup);
  ~GpuRunner() override;
  std::vector<char> stored(int32_t sequence, int32_t n) override;
  std::string describe() const { return plugin_.table().describe(engine_); }

 private:
  void run(mm2::kernels::StepPlan& plan) override;
  const Plugin& plugin_;
  Memory kv_memory_;
  mm2::kernels::DeviceEngine* engine_ = nullptr;
};

}  // namespace check
