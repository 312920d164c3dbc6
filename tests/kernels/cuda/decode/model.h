// A small model on the emulated device and in the FP64 reference, and steps of it on both.
#pragma once

#include <cuda_emulator/emulator.h>
#include <cuda_runtime_api.h>

#include <deque>
#include <memory>
#include <string>

#include "kernels/cuda/decode/decode.h"
#include "kernels/cuda/layout/pack.h"
#include "kernels/support.h"

namespace support {

namespace cuda = mm2::kernels::cuda;

/// Device memory that the emulator knows.
template <typename T>
class OnDevice {
 public:
  explicit OnDevice(size_t n) : n_(n) {
    void* memory = nullptr;
    REQUIRE(cudaMalloc(&memory, n * sizeof(T) + 1) == cudaSuccess);
    data_ = static_cast<T*>(memory);
    std::memset(static_cast<void*>(data_), 0xFF, n * sizeof(T));
  }
  explicit OnDevice(const std::vector<T>& from) : OnDevice(from.size()) {
    if (!from.empty()) std::memcpy(data_, from.data(), n_ * sizeof(T));
  }
  OnDevice(OnDevice&& other) noexcept : data_(other.data_), n_(other.n_) { other.data_ = nullptr; }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() {
    if (data_ != nullptr) (void)cudaFree(data_);
  }
  T* get() const { return data_; }
  std::vector<T> read(size_t n) const { return {data_, data_ + n}; }

 private:
  T* data_ = nullptr;
  size_t n_;
};

/// A matrix of random numbers in both.
class TwoMatrices {
 public:
  TwoMatrices(Random& random, int64_t n_out, int64_t n_in, const Format& f, float scale)
      : weights(random, n_out, n_in, f, scale),
        packed_(static_cast<size_t>(cuda::packed_bytes(f, n_out, n_in))) {
    cuda::pack_on_host(&weights.rows(), packed_.get());
    device = {cuda::layout_of(f, n_out, n_in), packed_.get(), 1.0f, 0};
  }
  void set_output(float s, bool divides) {
    weights.set_output(s, divides);
    device.output_scale = s;
    device.output_divides = divides ? 1 : 0;
  }

  Weights weights;
  cuda::DeviceMatrix device{};

 private:
  OnDevice<char> packed_;
};

/// How the matrices of a model are kept.
struct ModelFormats {
  Format attention, expert, head;
};

/// A model of random weights in both. Nothing in it moves: weights point into each other.
class TwoModels {
 public:
  TwoModels(const ModelShape& shape, const ModelFormats& formats, uint64_t seed)
      : s(shape), random_(seed), embedding_(random_.vector(int64_t{s.n_vocab} * s.hidden)) {
    const float of_hidden = 1.0f / std::sqrt(static_cast<float>(s.hidden));
    layers_.resize(static_cast<size_t>(s.n_layers));
    for (Layer& l : layers_) make_layer(l, formats, of_hidden);
    final_norm_ = &norm(s.hidden);
    head_ = &matrix(s.n_vocab, s.hidden, formats.head, of_hidden);
    device_embedding_ = std::make_unique<OnDevice<float>>(embedding_);
    fill_device();
  }
  TwoModels(const TwoModels&) = delete;
  TwoModels& operator=(const TwoModels&) = delete;

  /// The model of the generic backend, or of the reference.
  ModelWeights host(bool of_ref) {
    auto& layers = of_ref ? ref_layers_ : host_layers_;
    auto& experts = of_ref ? ref_experts_ : host_experts_;
    layers.clear();
    experts.clear();
    const auto pick = [&](const TwoMatrices* m) {
      return of_ref ? m->weights.ref : m->weights.generic;
    };
    for (const Layer& l : layers_) {
      for (const auto& e : l.experts) experts.push_back({pick(e[0]), pick(e[1]), pick(e[2])});
    }
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Layer& l = layers_[i];
      layers.push_back({l.input_norm->host.data(), pick(l.q), pick(l.k), pick(l.v), pick(l.o),
                        l.q_norm->host.data(), l.k_norm->host.data(), l.post_norm->host.data(),
                        pick(l.router), l.bias->host.data(),
                        experts.data() + i * static_cast<size_t>(s.n_experts)});
    }
    return {{plain(kF32), s.n_vocab, s.hidden, embedding_.data()},
            layers.data(),
            final_norm_->host.data(),
            pick(head_)};
  }

  ModelShape s;
  cuda::DeviceWeights device{};

 private:
  struct Vector {
    explicit Vector(std::vector<float> values) : host(std::move(values)), device(host) {}
    std::vector<float> host;
    OnDevice<float> device;
  };
  struct Layer {
    const Vector *input_norm, *q_norm, *k_norm, *post_norm, *bias;
    const TwoMatrices *q, *k, *v, *o, *router;
    std::vector<std::vector<const TwoMatrices*>> experts;
  };

  const Vector& norm(int64_t n) {
    std::vector<float> values = random_.vector(n, 0.2f);
    for (float& x : values) x += 1.0f;
    return vectors_.emplace_back(std::move(values));
  }
  TwoMatrices& matrix(int64_t n_out, int64_t n_in, const Format& f, float scale) {
    return matrices_.emplace_back(random_, n_out, n_in, f, scale);
  }
  void make_layer(Layer& l, const ModelFormats& f, float of_hidden) {
    const int64_t q = int64_t{s.n_heads} * s.head_dim, kv = int64_t{s.n_kv_heads} * s.head_dim;
    const float of_q = 1.0f / std::sqrt(static_cast<float>(q));
    const float of_inner = 1.0f / std::sqrt(static_cast<float>(s.intermediate));
    l.input_norm = &norm(s.hidden);
    l.post_norm = &norm(s.hidden);
    l.q_norm = &norm(q);
    l.k_norm = &norm(kv);
    l.bias = &vectors_.emplace_back(random_.vector(s.n_experts, 0.1f));
    l.q = &matrix(q, s.hidden, f.attention, of_hidden);
    l.k = &matrix(kv, s.hidden, f.attention, of_hidden);
    l.v = &matrix(kv, s.hidden, f.attention, of_hidden);
    l.o = &matrix(s.hidden, q, f.attention, of_q);
    l.router = &matrix(s.n_experts, s.hidden, plain(kF32), of_hidden);
    for (int32_t e = 0; e < s.n_experts; ++e) {
      TwoMatrices& gate = matrix(s.intermediate, s.hidden, f.expert, of_hidden);
      TwoMatrices& up = matrix(s.intermediate, s.hidden, f.expert, of_hidden);
      TwoMatrices& down = matrix(s.hidden, s.intermediate, f.expert, of_inner);
      if (scale_in_code(f.expert)) {
        gate.set_output(0.5f + 0.1f * static_cast<float>(e), false);
        down.set_output(1.5f - 0.1f * static_cast<float>(e), true);
      }
      l.experts.push_back({&gate, &up, &down});
    }
  }
  void fill_device() {
    for (const Layer& l : layers_) {
      std::vector<cuda::DeviceExpert> experts;
      for (const auto& e : l.experts) experts.push_back({e[0]->device, e[1]->device, e[2]->device});
      device_experts_.emplace_back(experts);
      device_layers_.push_back({l.input_norm->device.get(), l.q->device, l.k->device, l.v->device,
                                l.o->device, l.q_norm->device.get(), l.k_norm->device.get(),
                                l.post_norm->device.get(), l.router->device, l.bias->device.get(),
                                device_experts_.back().get(), device_experts_.back().get()});
    }
    cuda::DeviceMatrix embedding{};
    embedding.layout.format = plain(kF32);
    embedding.data = reinterpret_cast<const char*>(device_embedding_->get());
    device = {s, embedding, device_layers_.data(), final_norm_->device.get(), head_->device};
  }

  Random random_;
  std::vector<float> embedding_;
  std::deque<TwoMatrices> matrices_;
  std::deque<Vector> vectors_;
  std::vector<Layer> layers_;
  const Vector* final_norm_;
  const TwoMatrices* head_;
  std::unique_ptr<OnDevice<float>> device_embedding_;
  std::deque<OnDevice<cuda::DeviceExpert>> device_experts_;
  std::vector<cuda::DeviceLayer> device_layers_;
  std::vector<LayerWeights> host_layers_, ref_layers_;
  std::vector<ExpertWeights> host_experts_, ref_experts_;
};

}  // namespace support
