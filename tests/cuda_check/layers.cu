// Layers of decoding without the rest of a step: the experts' half, the attention's half, both.
#include <set>

#include "cuda_check/made_weights.h"
#include "cuda_check/products.h"
#include "kernels/cuda/decode/decode.h"

namespace check {
namespace {

constexpr int32_t kBlockSize = 64, kMostRows = 8;

/// A model of some layers, each with memory of its own, and everything that a step of it needs.
class Layers {
 public:
  Layers(int32_t device_index, const ModelShape& shape, const Format& f, int32_t context)
      : s_(shape), context_(context) {
    must(cudaSetDevice(device_index), "choosing the device");
    int32_t n_multiprocessors = 1;
    must(cudaDeviceGetAttribute(&n_multiprocessors, cudaDevAttrMultiProcessorCount, device_index),
         "properties of the device");
    must(cudaStreamCreateWithFlags(&step_.stream, cudaStreamNonBlocking), "a stream");
    for (int32_t l = 0; l < s_.n_layers; ++l) add_layer(f);
    for (int32_t l = 0; l < s_.n_layers; ++l) {
      layers_[static_cast<size_t>(l)].host_experts =
          experts_.data() + static_cast<size_t>(l) * static_cast<size_t>(s_.n_experts);
    }
    weights_.shape = s_;
    weights_.embedding = matrix(plain(kBF16), s_.n_vocab, s_.hidden);
    weights_.layers = layers_.data();
    weights_.final_norm = vector(s_.hidden);
    weights_.lm_head = weights_.embedding;
    fill_step(n_multiprocessors);
    if (const char* why = cuda::decode_refuses(weights_, kE4M3)) throw std::runtime_error(why);
  }
  ~Layers() { (void)cudaStreamDestroy(step_.stream); }
  Layers(const Layers&) = delete;
  Layers& operator=(const Layers&) = delete;

  LayerRow measure(const char* what, int32_t parts, int32_t n_rows, bool is_resident) {
    cuda::DecodeOptions options{};
    options.parts = parts;
    const Bytes resident(is_resident ? cuda::resident_bytes(s_) : 0);
    options.is_resident = is_resident;
    options.resident_memory = resident.as<char>();
    must(cuda::make_decode_state(step_, options, &step_.state), "preparing kernels");
    const auto done = [](void* state) { cuda::decode_ops()->free_state(state); };
    const std::unique_ptr<void, decltype(done)> owner(step_.state, done);
    step_.n_rows = step_.n_tokens = n_rows;
    const double seconds = time_of([&](int64_t) { return cuda::decode_ops()->layers(step_); },
                                   s_.hidden < 1024, step_.stream) /
                           s_.n_layers;
    return {what, n_rows, seconds,
            (parts & cuda::kExpertsPart) != 0 ? touched(n_rows) * bytes_of_expert() : 0};
  }

 private:
  cuda::DeviceMatrix matrix(const Format& f, int64_t n_out, int64_t n_in) {
    matrices_.emplace_back(f, n_out, n_in, random_);
    return matrices_.back().matrix();
  }
  const float* vector(int64_t n) {
    const std::vector<float> ones(static_cast<size_t>(n), 1.0f);
    return upload(ones.data(), n * 4)->as<float>();
  }
  Bytes* room(int64_t n_bytes) {
    rooms_.push_back(std::make_unique<Bytes>(n_bytes));
    must(cudaMemset(rooms_.back()->as<void>(), 0, static_cast<size_t>(n_bytes)), "clearing");
    return rooms_.back().get();
  }
  Bytes* upload(const void* from, int64_t n_bytes) {
    Bytes* to = room(n_bytes);
    to->fill(from, n_bytes);
    return to;
  }

  void add_layer(const Format& f) {
    const int64_t q = int64_t{s_.n_heads} * s_.head_dim, kv = int64_t{s_.n_kv_heads} * s_.head_dim;
    cuda::DeviceLayer w{};
    w.input_norm = vector(s_.hidden);
    w.q = matrix(f, q, s_.hidden);
    w.k = matrix(f, kv, s_.hidden);
    w.v = matrix(f, kv, s_.hidden);
    w.o = matrix(f, s_.hidden, q);
    w.q_norm = vector(q);
    w.k_norm = vector(kv);
    w.post_attention_norm = vector(s_.hidden);
    w.router = matrix(plain(kF32), s_.n_experts, s_.hidden);
    w.router_bias = room(s_.n_experts * 4)->as<float>();
    const size_t first = experts_.size();
    for (int32_t e = 0; e < s_.n_experts; ++e) {
      const auto gate = matrix(f, s_.intermediate, s_.hidden);
      const auto up = matrix(f, s_.intermediate, s_.hidden);
      experts_.push_back({gate, up, matrix(f, s_.hidden, s_.intermediate)});
    }
    const auto n_bytes =
        static_cast<int64_t>(static_cast<size_t>(s_.n_experts) * sizeof(cuda::DeviceExpert));
    w.experts = upload(experts_.data() + first, n_bytes)->as<cuda::DeviceExpert>();
    layers_.push_back(w);
  }

  void fill_step(int32_t n_multiprocessors) {
    const int32_t blocks_of_row = context_ / kBlockSize + 1;
    std::vector<int32_t> tokens, positions, blocks;
    for (int32_t r = 0; r < kMostRows; ++r) {
      rows_.push_back({r, 1, context_, 0, r * blocks_of_row});
      tokens.push_back((r * 37 + 5) % s_.n_vocab);
      positions.push_back(context_);
    }
    for (int32_t b = 0; b < kMostRows * blocks_of_row; ++b) blocks.push_back(b);
    const auto ints = [&](const std::vector<int32_t>& v) {
      return upload(v.data(), static_cast<int64_t>(v.size()) * 4)->as<int32_t>();
    };
    step_.weights = &weights_;
    step_.activations = kBF16;
    step_.limits = {kMostRows, kMostRows, kMostRows, (context_ / kBlockSize + 1) * kBlockSize,
                    n_multiprocessors};
    step_.rows = upload(rows_.data(), static_cast<int64_t>(sizeof(cuda::DeviceRow)) * kMostRows)
                     ->as<cuda::DeviceRow>();
    step_.host_rows = rows_.data();
    step_.tokens = ints(tokens);
    step_.positions = ints(positions);
    step_.row_results = room(kMostRows * 4)->as<int32_t>();
    const cuda::KvLayout kv = cuda::kv_layout_of(s_, kBlockSize, kE4M3);
    const int64_t n_blocks = static_cast<int64_t>(blocks.size());
    const int64_t n_scales = int64_t{s_.n_layers} * s_.n_kv_heads;
    scales_.assign(static_cast<size_t>(n_scales), 0.05f);
    const float* scales = upload(scales_.data(), n_scales * 4)->as<float>();
    step_.kv = {room(kv.block_bytes * n_blocks * s_.n_layers)->as<char>(),
                kv.block_bytes * n_blocks,
                kv.block_bytes,
                kv,
                scales,
                scales,
                scales_.data(),
                scales_.data(),
                ints(blocks)};
    step_.buffers.h = room(int64_t{kMostRows} * s_.hidden * 4)->as<float>();
    step_.buffers.rope = room(int64_t{kMostRows} * s_.rotary_dim * 4)->as<float>();
    step_.buffers.ids = room(int64_t{kMostRows} * s_.n_layers * s_.top_k * 4)->as<int32_t>();
    step_.buffers.logits = room(int64_t{kMostRows} * s_.n_vocab * 4)->as<float>();
    step_.buffers.scratch = room(cuda::decode_ops()->scratch_bytes(s_, step_.limits))->as<char>();
  }

  /// Distinct experts of a layer, on average.
  double touched(int32_t n_rows) const {
    const auto each = static_cast<size_t>(n_rows * s_.top_k);
    std::vector<int32_t> ids(each * static_cast<size_t>(s_.n_layers));
    must(cudaMemcpy(ids.data(), step_.buffers.ids, ids.size() * 4, cudaMemcpyDeviceToHost),
         "copying");
    double n = 0;
    for (size_t at = 0; at < ids.size(); at += each) {
      n += static_cast<double>(std::set<int32_t>(ids.data() + at, ids.data() + at + each).size());
    }
    return n / s_.n_layers;
  }
  double bytes_of_expert() const {
    const cuda::DeviceExpert& e = experts_[0];
    return static_cast<double>(2 * e.gate.layout.bytes + e.down.layout.bytes);
  }

  ModelShape s_;
  int32_t context_;
  std::mt19937 random_{13};
  std::vector<Weights> matrices_;
  std::vector<std::unique_ptr<Bytes>> rooms_;
  std::vector<cuda::DeviceExpert> experts_;
  std::vector<cuda::DeviceLayer> layers_;
  std::vector<cuda::DeviceRow> rows_;
  std::vector<float> scales_;
  cuda::DeviceWeights weights_{};
  cuda::DeviceStep step_{};
};

}  // namespace

std::vector<LayerRow> measure_layers(int32_t device_index, const ModelShape& shape,
                                     const Format& format, int32_t context) {
  Layers layers(device_index, shape, format, context);
  std::vector<LayerRow> rows;
  for (const int32_t n : {1, 2, 4, 8}) {
    rows.push_back(layers.measure("experts", cuda::kExpertsPart, n, false));
  }
  rows.push_back(layers.measure("attention", cuda::kAttentionPart, 1, false));
  rows.push_back(layers.measure("layer", cuda::kAllParts, 1, false));
  rows.push_back(layers.measure("resident", cuda::kAllParts, 1, true));
  return rows;
}

}  // namespace check
