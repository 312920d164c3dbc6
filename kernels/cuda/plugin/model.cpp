#include "kernels/cuda/plugin/model.h"

#include <new>

namespace mm2::kernels::cuda {
namespace {

constexpr int32_t kMostHeadDim = 1024;  // keys and values of a head lie in shared memory

struct Failure {
  DeviceError* error;
  int32_t code = kDeviceOk;

  int32_t no_kernels(const char* what, int32_t layer, const Matrix& m) {
    return code = refuse(error, kDeviceUnsupported,
                         "CUDA: no kernels for %s of layer %d: [%lld, %lld], scheme %d, %d bits",
                         what, layer, static_cast<long long>(m.n_out),
                         static_cast<long long>(m.n_in), m.format.scheme, m.format.bits);
  }
};

DeviceMatrix matrix_of(const Matrix& m) {
  return {layout_of(m.format, m.n_out, m.n_in), static_cast<const char*>(m.data), m.output_scale,
          m.output_divides};
}

// A packed matrix of this size; else the failure is set.
DeviceMatrix packed_matrix(const Matrix& m, int64_t n_out, int64_t n_in, const char* what,
                           int32_t layer, Failure* failure) {
  if (failure->code != kDeviceOk) return {};
  const bool fits = m.n_out == n_out && m.n_in == n_in && m.data != nullptr;
  if (!fits || packed_bytes(m.format, m.n_out, m.n_in) < 0) {
    failure->no_kernels(what, layer, m);
    return {};
  }
  return matrix_of(m);
}

void fill_layer(const ModelShape& s, const LayerWeights& from, int32_t layer, DeviceLayer* to,
                DeviceExpert* experts, const DeviceExpert* device_experts, Failure* failure) {
  const int64_t q = int64_t{s.n_heads} * s.head_dim, kv = int64_t{s.n_kv_heads} * s.head_dim;
  to->input_norm = from.input_norm;
  to->q = packed_matrix(from.q, q, s.hidden, "q", layer, failure);
  to->k = packed_matrix(from.k, kv, s.hidden, "k", layer, failure);
  to->v = packed_matrix(from.v, kv, s.hidden, "v", layer, failure);
  to->o = packed_matrix(from.o, s.hidden, q, "o", layer, failure);
  to->q_norm = from.q_norm;
  to->k_norm = from.k_norm;
  to->post_attention_norm = from.post_attention_norm;
  to->router = packed_matrix(from.router, s.n_experts, s.hidden, "the router", layer, failure);
  to->router_bias = from.router_bias;
  to->host_experts = experts;
  to->experts = device_experts;
  const auto is_plain_f32 = [](const Matrix& m) {
    return is_plain(m.format) && m.format.number == kF32;
  };
  if (failure->code == kDeviceOk && !is_plain_f32(from.router)) {
    failure->no_kernels("the router", layer, from.router);
  }
  for (int32_t e = 0; e < s.n_experts && failure->code == kDeviceOk; ++e) {
    const ExpertWeights& w = from.experts[e];
    experts[e] = {packed_matrix(w.gate, s.intermediate, s.hidden, "an expert", layer, failure),
                  packed_matrix(w.up, s.intermediate, s.hidden, "an expert", layer, failure),
                  packed_matrix(w.down, s.hidden, s.intermediate, "an expert", layer, failure)};
  }
}

int32_t check_shape(const ModelShape& s, DeviceError* error) {
  const int32_t sizes[] = {s.n_layers,  s.hidden,       s.n_heads, s.n_kv_heads, s.head_dim,
                           s.n_experts, s.intermediate, s.n_vocab, s.top_k};
  for (const int32_t size : sizes) {
    if (size < 1) return refuse(error, kDeviceUnsupported, "CUDA: a model with a size of %d", size);
  }
  const int64_t n_widest = int64_t{s.n_heads} * s.head_dim;
  if (s.head_dim > kMostHeadDim || s.rotary_dim > s.head_dim || s.rotary_dim % 2 != 0 ||
      s.n_heads % s.n_kv_heads != 0 || s.top_k > s.n_experts || n_widest > (1 << 24)) {
    return refuse(
        error, kDeviceUnsupported,
        "CUDA: no kernels for %d heads of %d (at most %d), %d of them rotated, %d KV heads, "
        "%d of %d experts",
        s.n_heads, s.head_dim, kMostHeadDim, s.rotary_dim, s.n_kv_heads, s.top_k, s.n_experts);
  }
  return kDeviceOk;
}

int32_t fill(const ModelWeights& from, DeviceModel* model, DeviceError* error) {
  const ModelShape& s = model->weights.shape;
  const size_t n_experts = static_cast<size_t>(s.n_layers) * static_cast<size_t>(s.n_experts);
  model->layers.reset(new (std::nothrow) DeviceLayer[static_cast<size_t>(s.n_layers)]());
  model->experts.reset(new (std::nothrow) DeviceExpert[n_experts]());
  if (model->layers == nullptr || model->experts == nullptr) {
    return refuse(error, kDeviceOutOfMemory, "CUDA: no memory of the host for tables of weights");
  }
  const auto n_bytes = static_cast<int64_t>(n_experts * sizeof(DeviceExpert));
  int32_t code = take_memory(model->device, n_bytes, &model->device_experts, "tables", error);
  if (code != kDeviceOk) return code;
  Failure failure{error};
  const auto* on_device = static_cast<const DeviceExpert*>(model->device_experts);
  for (int32_t layer = 0; layer < s.n_layers; ++layer) {
    const int64_t first = int64_t{layer} * s.n_experts;
    fill_layer(s, from.layers[layer], layer, &model->layers[static_cast<size_t>(layer)],
               model->experts.get() + first, on_device + first, &failure);
  }
  if (!is_plain(from.embedding.format) || from.embedding.n_in != s.hidden ||
      from.embedding.n_out != s.n_vocab) {
    failure.no_kernels("embeddings", -1, from.embedding);
  }
  DeviceWeights& w = model->weights;
  w.layers = model->layers.get();
  w.embedding = matrix_of(from.embedding);
  w.final_norm = from.final_norm;
  w.lm_head = packed_matrix(from.lm_head, s.n_vocab, s.hidden, "the head", -1, &failure);
  if (failure.code != kDeviceOk) return failure.code;
  return copy_to(model->device, model->device_experts, model->experts.get(), n_bytes, error);
}

}  // namespace

int32_t make_model(Device* device, const ModelShape* shape, const ModelWeights* weights,
                   DeviceModel** model, DeviceError* error) {
  *model = nullptr;
  int32_t code = check_usable(*device, error);
  if (code == kDeviceOk) code = check_shape(*shape, error);
  if (code != kDeviceOk) return code;
  DeviceModel* made = new (std::nothrow) DeviceModel{};
  if (made == nullptr) return refuse(error, kDeviceOutOfMemory, "CUDA: no memory of the host");
  made->device = device;
  made->weights.shape = *shape;
  code = fill(*weights, made, error);
  if (code != kDeviceOk) {
    free_model(made);
    return code;
  }
  *model = made;
  return kDeviceOk;
}

void free_model(DeviceModel* model) {
  if (model == nullptr) return;
  release(model->device, model->device_experts);
  delete model;
}

}  // namespace mm2::kernels::cuda
