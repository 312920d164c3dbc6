// One random model, packed for the CPU and on a device.
#pragma once

#include <deque>

#include "kernels/cuda/plugin/emulated_plugin.h"

namespace support {

/// Device memory that is given back.
class Freed {
 public:
  explicit Freed(Device* device) : device_(device) {}
  ~Freed() {
    for (void* one : memory_) plugin().release(device_, one);
  }
  Freed(const Freed&) = delete;
  Freed& operator=(const Freed&) = delete;
  void* take(int64_t n_bytes) {
    void* memory = nullptr;
    DeviceError error{};
    REQUIRE(plugin().allocate(device_, n_bytes, &memory, &error) == kDeviceOk);
    memory_.push_back(memory);
    return memory;
  }
  void* upload(const void* from, int64_t n_bytes) {
    void* memory = take(n_bytes);
    DeviceError error{};
    REQUIRE(plugin().copy_to(device_, memory, from, n_bytes, &error) == kDeviceOk);
    return memory;
  }

 private:
  Device* device_;
  std::vector<void*> memory_;
};

class TwoModels {
 public:
  TwoModels(Random& random, const ModelShape& s, const Format& f, Device* device)
      : shape(s), random_(random), device_(device), memory_(device) {
    const int64_t q = int64_t{s.n_heads} * s.head_dim, kv = int64_t{s.n_kv_heads} * s.head_dim;
    for (int32_t i = 0; i < s.n_layers; ++i) {
      layers_[0].emplace_back();
      layers_[1].emplace_back();
      LayerWeights &here = layers_[0].back(), &there = layers_[1].back();
      vector(s.hidden, &here.input_norm, &there.input_norm);
      matrix(q, s.hidden, f, &here.q, &there.q);
      matrix(kv, s.hidden, f, &here.k, &there.k);
      matrix(kv, s.hidden, f, &here.v, &there.v);
      matrix(s.hidden, q, f, &here.o, &there.o);
      vector(q, &here.q_norm, &there.q_norm);
      vector(kv, &here.k_norm, &there.k_norm);
      vector(s.hidden, &here.post_attention_norm, &there.post_attention_norm);
      matrix(s.n_experts, s.hidden, plain(kF32), &here.router, &there.router);
      vector(s.n_experts, &here.router_bias, &there.router_bias);
      experts(f, &here, &there);
    }
    embedding_ = encode(random.vector(int64_t{s.n_vocab} * s.hidden), kBF16);
    host = {{plain(kBF16), s.n_vocab, s.hidden, embedding_.data()}, layers_[0].data(), nullptr, {}};
    on_device = host;
    on_device.layers = layers_[1].data();
    on_device.embedding.data =
        memory_.upload(embedding_.data(), static_cast<int64_t>(embedding_.size()));
    vector(s.hidden, &host.final_norm, &on_device.final_norm);
    matrix(s.n_vocab, s.hidden, plain(kBF16), &host.lm_head, &on_device.lm_head);
  }

  /// On the device; freed with this.
  DeviceModel* device_model() {
    if (model_ != nullptr) return model_;
    DeviceError error{};
    const int32_t code = plugin().make_model(device_, &shape, &on_device, &model_, &error);
    INFO(error.text);
    REQUIRE(code == kDeviceOk);
    return model_;
  }
  ~TwoModels() { plugin().free_model(model_); }
  TwoModels(const TwoModels&) = delete;
  TwoModels& operator=(const TwoModels&) = delete;

  ModelShape shape;
  ModelWeights host{}, on_device{};

 private:
  void vector(int64_t n, const float** here, const float** there) {
    vectors_.push_back(random_.vector(n));
    for (float& x : vectors_.back()) x = 1.0f + 0.2f * x;
    *here = vectors_.back().data();
    *there = static_cast<const float*>(memory_.upload(*here, n * 4));
  }

  void matrix(int64_t n_out, int64_t n_in, const Format& f, Matrix* here, Matrix* there) {
    weights_.emplace_back(random_, n_out, n_in, f, 0.15f);
    *here = weights_.back().generic;
    *there = *here;
    const MatrixRows& rows = weights_.back().rows();
    there->data = memory_.take(plugin().backend->packed_bytes(&f, n_out, n_in));
    DeviceError error{};
    REQUIRE(plugin().pack(device_, &rows, const_cast<void*>(there->data), &error) == kDeviceOk);
  }

  void experts(const Format& f, LayerWeights* here, LayerWeights* there) {
    for (int side = 0; side < 2; ++side) {
      experts_[side].emplace_back(static_cast<size_t>(shape.n_experts));
    }
    for (int32_t e = 0; e < shape.n_experts; ++e) {
      ExpertWeights& a = experts_[0].back()[static_cast<size_t>(e)];
      ExpertWeights& b = experts_[1].back()[static_cast<size_t>(e)];
      matrix(shape.intermediate, shape.hidden, f, &a.gate, &b.gate);
      matrix(shape.intermediate, shape.hidden, f, &a.up, &b.up);
      matrix(shape.hidden, shape.intermediate, f, &a.down, &b.down);
    }
    here->experts = experts_[0].back().data();
    there->experts = experts_[1].back().data();
  }

  Random& random_;
  Device* device_;
  Freed memory_;
  DeviceModel* model_ = nullptr;
  std::deque<Weights> weights_;
  std::deque<std::vector<float>> vectors_;
  std::vector<LayerWeights> layers_[2];
  std::deque<std::vector<ExpertWeights>> experts_[2];
  std::vector<char> embedding_;
};

/// The tokens of one step, as a StepPlan without buffers.
struct Tokens {
  void add(std::vector<int32_t> of_row, int32_t first_position, int32_t n_outputs,
           const int32_t* blocks) {
    const auto first = static_cast<int32_t>(tokens.size());
    const auto n = static_cast<int32_t>(of_row.size());
    rows.push_back({first, n, first_position, n_outputs, blocks});
    for (int32_t i = 0; i < n; ++i) positions.push_back(first_position + i);
    tokens.insert(tokens.end(), of_row.begin(), of_row.end());
    n_all += n_outputs;
  }
  StepPlan plan(int32_t activations) const {
    StepPlan p{};
    p.rows = rows.data();
    p.tokens = tokens.data();
    p.positions = positions.data();
    p.n_rows = static_cast<int32_t>(rows.size());
    p.n_tokens = static_cast<int32_t>(tokens.size());
    p.n_outputs = n_all;
    p.activations = activations;
    return p;
  }
  std::vector<StepRow> rows;
  std::vector<int32_t> tokens, positions;
  int32_t n_all = 0;
};

/// What a step gave.
struct Outcome {
  std::vector<float> logits;
  std::vector<int32_t> results;
  int32_t code = -1;
  std::string text;
};

/// An engine on each side, with caches of the same number.
class TwoEngines {
 public:
  TwoEngines(TwoModels& model, Device* device, int32_t number, int32_t kernels = kSimple,
             int32_t n_blocks = 8)
      : model_(model),
        memory_(device),
        host_block_(generic_backend()->kv_block_bytes(&model.shape, 64, number)),
        host_(host_block_ * n_blocks * model.shape.n_layers, 0xFF) {
    const ModelShape& s = model.shape;
    for (int64_t i = 0; i < int64_t{s.n_layers} * s.n_kv_heads; ++i) {
      k_scales_.push_back(0.02f + 0.003f * static_cast<float>(i));
      v_scales_.push_back(0.03f - 0.002f * static_cast<float>(i % 3));
    }
    host_kv_ = {host_.get(), host_block_ * n_blocks, host_block_, 64, number};
    const int64_t block = plugin().backend->kv_block_bytes(&s, 64, number);
    options.kv = {memory_.take(block * n_blocks * s.n_layers), block * n_blocks, block, 64, number};
    if (number == kE4M3) {
      host_kv_.k_scales = options.kv.k_scales = k_scales_.data();
      host_kv_.v_scales = options.kv.v_scales = v_scales_.data();
    }
    options.n_blocks = n_blocks;
    options.max_tokens = 32;
    options.max_outputs = 16;
    options.max_rows = 4;
    options.max_positions = 64 * n_blocks;
    options.kernels = kernels;
  }
  ~TwoEngines() { plugin().free_engine(engine_); }
  TwoEngines(const TwoEngines&) = delete;
  TwoEngines& operator=(const TwoEngines&) = delete;

  DeviceEngine* engine() {
    if (engine_ != nullptr) return engine_;
    DeviceError error{};
    const int32_t code = plugin().make_engine(model_.device_model(), &options, &engine_, &error);
    INFO(error.text);
    REQUIRE(code == kDeviceOk);
    return engine_;
  }

  Outcome on_device(StepPlan plan) {
    Outcome o;
    DeviceError error{};
    prepare(&plan, &o);
    o.code = plugin().step(engine(), &plan, &error);
    o.text = error.text;
    return o;
  }

  Outcome on_host(StepPlan plan) {
    Outcome o;
    prepare(&plan, &o);
    const Workers workers(1);
    const Memory scratch(
        generic_backend()->scratch_bytes(&model_.shape, plan.n_tokens, plan.n_outputs, 1));
    plan.shape = &model_.shape;
    plan.weights = &model_.host;
    plan.kv = &host_kv_;
    plan.scratch = scratch.get();
    plan.executor = workers.get();
    o.code = generic_backend()->step(&plan);
    return o;
  }

  std::vector<char> read_host(const StepRow& row, int64_t first, int64_t n) const {
    std::vector<char> to(bytes(n));
    generic_backend()->read_positions(&host_kv_, &model_.shape, &row, first, n, to.data());
    return to;
  }
  std::vector<char> read_device(const StepRow& row, int64_t first, int64_t n) {
    std::vector<char> to(bytes(n));
    DeviceError error{};
    REQUIRE(plugin().read_positions(engine(), &row, first, n, to.data(), &error) == kDeviceOk);
    return to;
  }

  DeviceEngineOptions options{};

 private:
  size_t bytes(int64_t n) const {
    const ModelShape& s = model_.shape;
    return static_cast<size_t>(n * s.n_layers * 2 * s.n_kv_heads * s.head_dim *
                               bytes_of(host_kv_.number));
  }
  void prepare(StepPlan* plan, Outcome* o) const {
    o->logits.assign(static_cast<size_t>(plan->n_outputs * model_.shape.n_vocab), -1.0f);
    o->results.assign(static_cast<size_t>(plan->n_rows), -1);
    plan->logits = o->logits.data();
    plan->row_results = o->results.data();
  }

  TwoModels& model_;
  Freed memory_;
  int64_t host_block_;
  Memory host_;
  KvCache host_kv_{};
  std::vector<float> k_scales_, v_scales_;
  DeviceEngine* engine_ = nullptr;
};

}  // namespace support
