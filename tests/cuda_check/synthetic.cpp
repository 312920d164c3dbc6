#include "cuda_check/synthetic.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "kernels/api/format.h"
#include "kernels/api/numbers.h"

namespace check {

using namespace mm2::kernels;

namespace {

constexpr int64_t kPieceRows = 512;  // packed at a time

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

ModelShape true_shape(int32_t n_layers, int32_t n_experts) {
  ModelShape s{};
  s.n_layers = n_layers;
  s.hidden = 3072;
  s.n_heads = 48;
  s.n_kv_heads = 8;
  s.head_dim = 128;
  s.rotary_dim = 64;
  s.n_experts = n_experts;
  s.top_k = std::min(8, n_experts);
  s.intermediate = 1536;
  s.n_vocab = 200064;
  s.rms_norm_eps = 1e-6f;
  s.rope_theta = 5e6;
  return s;
}

ModelShape tiny_shape() {
  ModelShape s = true_shape(2, 4);
  s.hidden = 256;
  s.n_heads = 6;
  s.n_kv_heads = 1;
  s.intermediate = 128;
  s.n_vocab = 300;
  s.top_k = 2;
  return s;
}

Format format_named(const std::string& quant) {
  if (quant == "w4") return {kInteger, kBF16, 4, 0, 0, 1, 128};
  if (quant == "fp8") return {kFp8, kF32, 8, 0, 0, 128, 128};
  if (quant == "nvfp4") return {kFp4, kE4M3, 4, 0, 0, 1, 16};
  if (quant == "bf16") return plain(kBF16);
  throw DeviceFailure(kDeviceUnsupported, "--quant " + quant + " is none of w4, fp8, nvfp4, bf16");
}

char* SyntheticModel::take(int64_t n) {
  memory_.push_back(std::make_unique<Memory>(plugin_, n));
  packed_bytes_ += n;
  return memory_.back()->data();
}

const float* SyntheticModel::add_vector(int64_t n, float mean, float deviation) {
  std::vector<float> v;
  for (int64_t i = 0; i < n; ++i) v.push_back(mean + deviation * random_.normal());
  char* to = take(n * 4);
  plugin_.call([&](const auto& t, DeviceError* error) {
    return t.copy_to(plugin_.device(), to, v.data(), n * 4, error);
  });
  return reinterpret_cast<const float*>(to);
}

Matrix SyntheticModel::add_plain(int64_t n_out, int64_t n_in, int32_t number, bool is_packed) {
  const float deviation = 1.0f / std::sqrt(static_cast<float>(n_in));
  const int64_t width = bytes_of(number);
  const int64_t piece = std::min(kPieceRows, n_out);
  bytes_.resize(static_cast<size_t>(piece * n_in * width));
  for (int64_t i = 0; i < piece * n_in; ++i) {
    const float x = deviation * random_.normal();
    const uint16_t half = f32_to_bf16(x);
    std::memcpy(&bytes_[static_cast<size_t>(i * width)],
                width == 4 ? static_cast<const void*>(&x) : &half, static_cast<size_t>(width));
  }
  const Format f = plain(number);
  char* to =
      take(is_packed ? plugin_.backend().packed_bytes(&f, n_out, n_in) : n_out * n_in * width);
  const double begin = now();
  for (int64_t first = 0; first < n_out; first += piece) {
    const int64_t n = std::min(piece, n_out - first);
    const MatrixRows rows{f, n_out, n_in, first, n, bytes_.data(), nullptr, nullptr, nullptr};
    plugin_.call([&](const auto& t, DeviceError* error) {
      return is_packed ? t.pack(plugin_.device(), &rows, to, error)
                       : t.copy_to(plugin_.device(), to + first * n_in * width, bytes_.data(),
                                   n * n_in * width, error);
    });
  }
  packing_seconds_ += now() - begin;
  return {f, n_out, n_in, to};
}

// Codes are drawn anew for every eighth matrix or so: the same bytes elsewhere cost as much to read.
Matrix SyntheticModel::add(int64_t n_out, int64_t n_in, Format f) {
  if (is_plain(f)) return add_plain(n_out, n_in, f.number, true);
  const int64_t piece = std::min(kPieceRows, n_out);
  const int64_t patches = n_patches(f, n_in);
  const auto wanted = static_cast<size_t>(piece * n_in);
  if (bytes_.size() != wanted || random_.bits() % 8 == 0) {
    bytes_.resize(wanted);
    const uint64_t mask =
        f.scheme == kFp8 ? 0xBFBFBFBFBFBFBFBFull : 0x0F0F0F0F0F0F0F0Full;  // never NaN
    for (size_t i = 0; i + 8 <= wanted; i += 8) {
      const uint64_t word = random_.bits() & mask;
      std::memcpy(&bytes_[i], &word, 8);
    }
    const float spread = f.scheme == kInteger ? 4.6f : f.scheme == kFp8 ? 1.0f : 3.0f;
    float scale = 1.0f / (spread * std::sqrt(static_cast<float>(n_in)));
    if (f.number == kE4M3) scale = 0.25f;  // the matrix is divided by 64 then
    if (f.number == kBF16) scale = bf16_to_f32(f32_to_bf16(scale));
    floats_.assign(static_cast<size_t>(piece * patches), scale);
  }
  char* to = take(plugin_.backend().packed_bytes(&f, n_out, n_in));
  const double begin = now();
  for (int64_t first = 0; first < n_out; first += piece) {
    const MatrixRows rows{
        f,       n_out,  n_in, first, std::min(piece, n_out - first), bytes_.data(), floats_.data(),
        nullptr, nullptr};
    plugin_.call([&](const auto& t, DeviceError* error) {
      return t.pack(plugin_.device(), &rows, to, error);
    });
  }
  packing_seconds_ += now() - begin;
  Matrix m{f, n_out, n_in, to};
  if (f.number == kE4M3) {
    m.output_scale = 64;
    m.output_divides = 1;
  }
  return m;
}

SyntheticModel::SyntheticModel(const Plugin& plugin, const ModelShape& s, Format f)
    : plugin_(plugin) {
  const int64_t q_width = int64_t{s.n_heads} * s.head_dim;
  const int64_t kv_width = int64_t{s.n_kv_heads} * s.head_dim;
  tables_.layers.resize(static_cast<size_t>(s.n_layers));
  tables_.experts.resize(tables_.layers.size() * static_cast<size_t>(s.n_experts));
  tables_.weights.embedding = add_plain(s.n_vocab, s.hidden, kBF16, false);
  for (size_t l = 0; l < tables_.layers.size(); ++l) {
    ExpertWeights* experts = tables_.experts.data() + l * static_cast<size_t>(s.n_experts);
    LayerWeights& w = tables_.layers[l];
    w.input_norm = add_vector(s.hidden);
    w.q = add(q_width, s.hidden, f);
    w.k = add(kv_width, s.hidden, f);
    w.v = add(kv_width, s.hidden, f);
    w.o = add(s.hidden, q_width, f);
    w.q_norm = add_vector(q_width);
    w.k_norm = add_vector(kv_width);
    w.post_attention_norm = add_vector(s.hidden);
    w.router = add_plain(s.n_experts, s.hidden, kF32, true);
    w.router_bias = add_vector(s.n_experts, 0.0f, 0.01f);
    for (int32_t e = 0; e < s.n_experts; ++e) {
      experts[e].gate = add(s.intermediate, s.hidden, f);
      experts[e].up = add(s.intermediate, s.hidden, f);
      experts[e].down = add(s.hidden, s.intermediate, f);
    }
    w.experts = experts;
  }
  tables_.weights.layers = tables_.layers.data();
  tables_.weights.final_norm = add_vector(s.hidden);
  tables_.weights.lm_head = add_plain(s.n_vocab, s.hidden, kBF16, true);
  plugin_.call([&](const auto& t, DeviceError* error) {
    return t.make_model(plugin_.device(), &s, &tables_.weights, &handle_, error);
  });
}

SyntheticModel::~SyntheticModel() {
  plugin_.table().free_model(handle_);
}

}  // namespace check
