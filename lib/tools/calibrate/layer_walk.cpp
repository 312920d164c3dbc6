#include "tools/calibrate/layer_walk.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/backends.h"
#include "model/model.h"
#include "tools/calibrate/layer_part.h"

namespace mm2 {
namespace {

constexpr int32_t kChunk = 512;        // tokens of one operation
constexpr int32_t kBlock = 64;         // positions of a KV block
constexpr int32_t kExpertsAtOnce = 8;  // in memory

size_t longest_sample(const TokenSamples& samples) {
  size_t longest = 0;
  for (size_t s = 0; s < samples.size(); ++s) {
    longest = std::max(longest, samples.starts[s + 1] - samples.starts[s]);
  }
  return longest;
}

void parallel_for(void* self, int32_t n_tasks, void (*task)(void*, int32_t, int32_t),
                  void* context) {
  static_cast<Executor*>(self)->parallel_for(n_tasks, task, context);
}

float silu(float x) {
  return x / (1.0f + std::exp(-x));
}

}  // namespace

uint64_t LayerWalk::memory(const CheckpointView& view, const TokenSamples& samples) {
  const ModelConfig& c = view.config();
  const auto n = static_cast<uint64_t>(samples.n_tokens());
  const auto expert = static_cast<uint64_t>(c.hidden) * static_cast<uint64_t>(c.intermediate) * 3;
  const auto dense = static_cast<uint64_t>(c.hidden) *
                     static_cast<uint64_t>(2 * c.q_width() + 2 * c.kv_width() + c.n_experts);
  const uint64_t kv = (longest_sample(samples) + kBlock) * static_cast<uint64_t>(c.kv_width()) * 8;
  // Four bytes a weight at most.
  return n * (static_cast<uint64_t>(c.hidden) * 4 + static_cast<uint64_t>(c.top_k) * 28) + kv +
         4 * std::max(dense, expert * kExpertsAtOnce);
}

Result<std::unique_ptr<LayerWalk>> LayerWalk::create(const CheckpointView& view,
                                                     const TokenSamples& samples,
                                                     std::shared_ptr<Executor> executor,
                                                     const Host& host) {
  std::unique_ptr<LayerWalk> walk(new LayerWalk(view, samples));
  walk->executor_ = std::move(executor);
  walk->host_ = host;
  walk->kernel_executor_ = {walk->executor_.get(), walk->executor_->n_workers(), &parallel_for};
  walk->shape_ = shape_of(view.config());
  MM2_ASSIGN_OR_RETURN(walk->backend_, choose_backend(Isa::automatic));
  std::vector<WeightPlace> places;
  std::vector<WeightDescription> descriptions;
  for (const ViewWeight& weight : view.weights()) {
    places.push_back(weight.place);
    descriptions.push_back(weight.description);
  }
  walk->described_ = DescribedWeights(std::move(places), std::move(descriptions));
  MM2_RETURN_IF_ERROR(walk->take_memory());
  return walk;
}

Status LayerWalk::take_memory() {
  const kernels::ModelShape& s = shape_;
  const auto hidden = static_cast<size_t>(s.hidden), top_k = static_cast<size_t>(s.top_k);
  const auto q_width = static_cast<size_t>(s.n_heads * s.head_dim);
  const auto kv_width = static_cast<size_t>(s.n_kv_heads * s.head_dim);
  const auto intermediate = static_cast<size_t>(s.intermediate);
  const size_t n = samples_.n_tokens();
  x_.resize(n * hidden);
  ids_.resize(n * top_k);
  weights_.resize(n * top_k);
  norms_.resize(n * top_k);
  activations_.resize(n * top_k);
  chunk_x_.resize(kChunk * hidden);
  chunk_y_.resize(kChunk * hidden);
  q_.resize(kChunk * q_width);
  attention_.resize(kChunk * q_width);
  kv_work_.resize(kChunk * 2 * kv_width);
  rope_.resize(kChunk * static_cast<size_t>(s.rotary_dim));
  gate_.resize(kChunk * intermediate);
  up_.resize(kChunk * intermediate);
  const size_t n_blocks = (longest_sample(samples_) + kBlock - 1) / kBlock;
  for (size_t i = 0; i < n_blocks; ++i) blocks_.push_back(static_cast<int32_t>(i));
  const auto block = static_cast<size_t>(backend_->kv_block_bytes(&s, kBlock, kernels::kF32));
  MM2_ASSIGN_OR_RETURN(kv_memory_, Buffer::make(host_.allocator, n_blocks * block));
  const int64_t scratch = backend_->ops->scratch_bytes(&s, kChunk, executor_->n_workers());
  MM2_ASSIGN_OR_RETURN(scratch_, Buffer::make(host_.allocator, static_cast<size_t>(scratch)));
  return {};
}

Status LayerWalk::embed(std::span<float> hidden) const {
  const ViewWeight* table = nullptr;
  for (const ViewWeight& weight : view_.weights()) {
    if (weight.place.role == Role::embedding) table = &weight;
  }
  if (table == nullptr) return error(Code::format, view_.folder(), ": no embedding");
  const auto width = static_cast<size_t>(shape_.hidden);
  for (size_t t = 0; t < samples_.n_tokens(); ++t) {
    MM2_RETURN_IF_ERROR(
        view_.rows(*table, samples_.tokens[t], 1, hidden.subspan(t * width, width).data()));
  }
  return {};
}

Status LayerWalk::layer(int32_t layer, std::span<float> hidden, const CollectOptions& options,
                        LayerObservation& seen) {
  MM2_ASSIGN_OR_RETURN(auto dense, LayerPart::load_dense(described_, view_.source(), *backend_,
                                                         layer, *executor_, host_));
  for (size_t s = 0; s < samples_.size(); ++s) {
    attention_half(dense->weights, s, hidden, options, seen);
  }
  route(dense->weights, hidden);
  dense.reset();
  for (int32_t first = 0; first < shape_.n_experts; first += kExpertsAtOnce) {
    const int32_t n = std::min(kExpertsAtOnce, shape_.n_experts - first);
    MM2_ASSIGN_OR_RETURN(const auto part,
                         LayerPart::load_experts(described_, view_.source(), *backend_, layer,
                                                 first, n, *executor_, host_));
    for (int32_t i = 0; i < n; ++i) {
      run_expert(part->experts[static_cast<size_t>(i)], first + i, hidden, options, seen);
    }
  }
  if (options.reap) {
    MM2_RETURN_IF_ERROR(count_experts(seen).in(join("calibrating layer ", layer)));
  }
  for (const float value : hidden) {
    if (!(value - value == 0)) {
      return error(Code::numeric, "calibrating layer ", layer,
                   ": the activations after it are not finite");
    }
  }
  return {};
}

void LayerWalk::attention_half(const kernels::LayerWeights& w, size_t sample,
                               std::span<float> hidden, const CollectOptions& options,
                               LayerObservation& seen) {
  const kernels::ModelShape& s = shape_;
  const kernels::Ops<float>& ops = *backend_->ops;
  const kernels::Executor* run = &kernel_executor_;
  const auto width = static_cast<size_t>(s.hidden);
  const auto q_width = static_cast<size_t>(s.n_heads * s.head_dim);
  const auto head = static_cast<size_t>(s.head_dim);
  const auto kv_heads = static_cast<size_t>(s.n_kv_heads);
  kernels::KvCache kv{};
  kv.data = kv_memory_.data();
  kv.block_stride = backend_->kv_block_bytes(&s, kBlock, kernels::kF32);
  kv.block_size = kBlock;
  kv.number = kernels::kF32;
  const size_t begin = samples_.starts[sample], end = samples_.starts[sample + 1];
  for (size_t first = begin; first < end; first += kChunk) {
    const auto n = static_cast<int32_t>(std::min<size_t>(kChunk, end - first));
    const auto rows = static_cast<size_t>(n);
    float* h = hidden.data() + first * width;
    const std::span marks(samples_.counted.data() + first, rows);
    std::vector<int32_t> positions(rows);
    for (size_t i = 0; i < rows; ++i) positions[i] = static_cast<int32_t>(first - begin + i);
    const kernels::StepRow row{0, n, positions[0], 0, blocks_.data()};

    const kernels::RmsNormArgs<float> norm{h, w.input_norm, s.rms_norm_eps,
                                           n, s.hidden,     chunk_x_.data()};
    ops.rms_norm(run, &norm);
    seen.attention_in.add(std::span(chunk_x_).first(rows * width), marks, *executor_);
    const kernels::RopeTableArgs<float> rope{positions.data(), n, s.rotary_dim, s.rope_theta,
                                             rope_.data()};
    ops.rope_table(run, &rope);
    const kernels::QkvArgs<float> qkv{&s,
                                      chunk_x_.data(),
                                      &w.q,
                                      &w.k,
                                      &w.v,
                                      w.q_norm,
                                      w.k_norm,
                                      rope_.data(),
                                      &row,
                                      1,
                                      n,
                                      kernels::kF32,
                                      &kv,
                                      0,
                                      q_.data(),
                                      kv_work_.data(),
                                      scratch_.data()};
    ops.qkv(run, &qkv);
    if (options.kv) {
      for (size_t i = 0; i < rows; ++i) {
        if (!marks[i]) continue;
        const float* k = kv_work_.data() + i * 2 * kv_heads * head;
        for (size_t c = 0; c < kv_heads * head; ++c) {
          float& k_most = seen.k_amax[c / head];
          float& v_most = seen.v_amax[c / head];
          k_most = std::max(k_most, std::fabs(k[c]));
          v_most = std::max(v_most, std::fabs(k[kv_heads * head + c]));
        }
      }
    }
    const kernels::AttentionArgs<float> attention{
        &s, q_.data(), &row, 1, n, kernels::kF32, &kv, 0, attention_.data(), scratch_.data()};
    ops.attention(run, &attention);
    seen.o_in.add(std::span(attention_).first(rows * q_width), marks, *executor_);
    const kernels::LinearArgs<float> o{attention_.data(), &w.o, h, n, kernels::kF32, h,
                                       scratch_.data()};
    ops.linear(run, &o);
  }
}

void LayerWalk::route(const kernels::LayerWeights& w, std::span<const float> hidden) {
  const kernels::ModelShape& s = shape_;
  const auto width = static_cast<size_t>(s.hidden), top_k = static_cast<size_t>(s.top_k);
  for (size_t first = 0; first < samples_.n_tokens(); first += kChunk) {
    const auto n = static_cast<int32_t>(std::min<size_t>(kChunk, samples_.n_tokens() - first));
    float* x = x_.data() + first * width;
    const kernels::RmsNormArgs<float> norm{
        hidden.data() + first * width, w.post_attention_norm, s.rms_norm_eps, n, s.hidden, x};
    backend_->ops->rms_norm(&kernel_executor_, &norm);
    const kernels::RouterArgs<float> router{&s,
                                            x,
                                            &w.router,
                                            w.router_bias,
                                            n,
                                            ids_.data() + first * top_k,
                                            weights_.data() + first * top_k,
                                            scratch_.data()};
    backend_->ops->router(&kernel_executor_, &router);
  }
  routed_.assign(static_cast<size_t>(s.n_experts), {});
  for (size_t i = 0; i < ids_.size(); ++i) {
    routed_[static_cast<size_t>(ids_[i])].push_back(static_cast<uint32_t>(i));
  }
}

void LayerWalk::run_expert(const kernels::ExpertWeights& w, int32_t expert, std::span<float> hidden,
                           const CollectOptions& options, LayerObservation& seen) {
  const auto width = static_cast<size_t>(shape_.hidden), top_k = static_cast<size_t>(shape_.top_k);
  const auto inner = static_cast<size_t>(shape_.intermediate);
  const std::vector<uint32_t>& routed = routed_[static_cast<size_t>(expert)];
  const auto linear = [&](const float* x, const kernels::Matrix& matrix, int32_t n, float* y) {
    const kernels::LinearArgs<float> args{x, &matrix,        nullptr, n, kernels::kF32,
                                          y, scratch_.data()};
    backend_->ops->linear(&kernel_executor_, &args);
  };
  for (size_t first = 0; first < routed.size(); first += kChunk) {
    const size_t n = std::min<size_t>(kChunk, routed.size() - first);
    std::vector<uint8_t> marks(n);
    for (size_t i = 0; i < n; ++i) {
      const size_t token = routed[first + i] / top_k;
      std::memcpy(chunk_x_.data() + i * width, x_.data() + token * width, width * sizeof(float));
      marks[i] = samples_.counted[token];
    }
    const auto rows = static_cast<int32_t>(n);
    linear(chunk_x_.data(), w.gate, rows, gate_.data());
    linear(chunk_x_.data(), w.up, rows, up_.data());
    executor_->run(rows, [&](int32_t row, int32_t) {
      float* g = gate_.data() + static_cast<size_t>(row) * inner;
      const float* u = up_.data() + static_cast<size_t>(row) * inner;
      for (size_t c = 0; c < inner; ++c) g[c] = silu(g[c]) * u[c];
    });
    if (options.imatrix || options.amax || options.hessian) {
      const auto e = static_cast<size_t>(expert);
      seen.w1_in[e].add(std::span(chunk_x_).first(n * width), marks, *executor_);
      seen.w2_in[e].add(std::span(gate_).first(n * inner), marks, *executor_);
    }
    linear(gate_.data(), w.down, rows, chunk_y_.data());
    executor_->run(rows, [&](int32_t row, int32_t) {
      const size_t place = routed[first + static_cast<size_t>(row)];
      const float* y = chunk_y_.data() + static_cast<size_t>(row) * width;
      float* h = hidden.data() + place / top_k * width;
      const float weight = weights_[place];
      double squares = 0, largest = -INFINITY;
      for (size_t c = 0; c < width; ++c) {
        squares += static_cast<double>(y[c]) * y[c];
        largest = std::max(largest, static_cast<double>(y[c]));
        h[c] += weight * y[c];
      }
      norms_[place] = std::sqrt(squares);
      activations_[place] = largest;
    });
  }
}

Status LayerWalk::count_experts(LayerObservation& seen) const {
  const auto top_k = static_cast<size_t>(shape_.top_k);
  std::vector<double> weights(top_k);
  for (size_t t = 0; t < samples_.n_tokens(); ++t) {
    if (!samples_.counted[t]) continue;
    for (size_t k = 0; k < top_k; ++k) weights[k] = weights_[t * top_k + k];
    MM2_RETURN_IF_ERROR(seen.experts.add_token(std::span(ids_).subspan(t * top_k, top_k), weights,
                                               std::span(norms_).subspan(t * top_k, top_k),
                                               std::span(activations_).subspan(t * top_k, top_k)));
  }
  return {};
}

}  // namespace mm2
