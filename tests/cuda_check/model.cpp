#include "cuda_check/model.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "kernels/api/format.h"
#include "kernels/api/numbers.h"

namespace check {

using namespace mm2::kernels;

Bytes::Bytes(int64_t n)
    : size_(n),
      data_(static_cast<char*>(std::aligned_alloc(64, static_cast<size_t>(n + 127) / 64 * 64))) {
  std::memset(data_.get(), 0xA5, static_cast<size_t>(n));
}

void Bytes::Free::operator()(char* p) const {
  std::free(p);
}

namespace {

std::vector<float> norm_of(Random& random, int64_t n) {
  std::vector<float> v;
  for (int64_t i = 0; i < n; ++i) v.push_back(1.0f + 0.1f * random.normal());
  return v;
}

HostLayer layer_of(Random& random, const ModelShape& s, Format f) {
  const int64_t q_width = int64_t{s.n_heads} * s.head_dim;
  const int64_t kv_width = int64_t{s.n_kv_heads} * s.head_dim;
  const auto make = [&](int64_t n_out, int64_t n_in) {
    const float deviation = 1.0f / std::sqrt(static_cast<float>(n_in));
    HostMatrix m(random, n_out, n_in, f, f.number == kE4M3 ? 32 * deviation : deviation);
    if (f.number == kE4M3) m.set_output(32.0f, true);
    return m;
  };
  HostLayer layer{make(q_width, s.hidden),
                  make(kv_width, s.hidden),
                  make(kv_width, s.hidden),
                  make(s.hidden, q_width),
                  HostMatrix(random, s.n_experts, s.hidden, plain(kF32), 0.1f),
                  {},
                  {},
                  {},
                  norm_of(random, s.hidden),
                  norm_of(random, q_width),
                  norm_of(random, kv_width),
                  norm_of(random, s.hidden),
                  {}};
  for (int32_t e = 0; e < s.n_experts; ++e) {
    layer.gate.push_back(make(s.intermediate, s.hidden));
    layer.up.push_back(make(s.intermediate, s.hidden));
    layer.down.push_back(make(s.hidden, s.intermediate));
    layer.router_bias.push_back(0.05f * random.normal());
  }
  return layer;
}

}  // namespace

HostModel::HostModel(uint64_t seed, const ModelShape& s, Format f)
    : shape(s),
      embedding([&] {
        Random random(seed);
        return HostMatrix(random, s.n_vocab, s.hidden, plain(kBF16), 1.0f);
      }()),
      lm_head([&] {
        Random random(seed + 1);
        return HostMatrix(random, s.n_vocab, s.hidden, is_plain(f) ? f : plain(kBF16), 0.1f);
      }()) {
  Random random(seed + 2);
  for (int32_t l = 0; l < s.n_layers; ++l) layers.push_back(layer_of(random, s, f));
  final_norm = norm_of(random, s.hidden);
}

namespace {

// Fills tables through matrix(HostMatrix, packed) and vector(numbers), which put them somewhere.
template <typename PutMatrix, typename PutVector>
void fill(Tables& t, const HostModel& host, PutMatrix&& matrix, PutVector&& vector) {
  const ModelShape& s = host.shape;
  t.layers.resize(static_cast<size_t>(s.n_layers));
  t.experts.resize(t.layers.size() * static_cast<size_t>(s.n_experts));
  t.weights.embedding = matrix(host.embedding, false);
  for (size_t l = 0; l < t.layers.size(); ++l) {
    const HostLayer& from = host.layers[l];
    LayerWeights& to = t.layers[l];
    ExpertWeights* experts = t.experts.data() + l * static_cast<size_t>(s.n_experts);
    to = {vector(from.input_norm),
          matrix(from.q, true),
          matrix(from.k, true),
          matrix(from.v, true),
          matrix(from.o, true),
          vector(from.q_norm),
          vector(from.k_norm),
          vector(from.post_attention_norm),
          matrix(from.router, true),
          vector(from.router_bias),
          experts};
    for (size_t e = 0; e < from.gate.size(); ++e) {
      experts[e] = {matrix(from.gate[e], true), matrix(from.up[e], true),
                    matrix(from.down[e], true)};
    }
  }
  t.weights.layers = t.layers.data();
  t.weights.final_norm = vector(host.final_norm);
  t.weights.lm_head = matrix(host.lm_head, true);
}

int64_t bytes_in(const Backend& backend, const HostMatrix& m, bool is_packed) {
  return is_packed ? backend.packed_bytes(&m.format, m.n_out, m.n_in)
                   : m.n_out * m.n_in * bytes_of(m.format.number);
}

void pack_on_device(const Plugin& plugin, const HostMatrix& m, void* to) {
  // A few blocks of rows, the last ones first: a loader's pieces come in any order.
  const int64_t piece = 2 * int64_t{plugin.backend().pack_rows};
  for (int64_t first = (m.n_out - 1) / piece * piece; first >= 0; first -= piece) {
    const MatrixRows rows = m.rows(first, std::min(piece, m.n_out - first));
    plugin.call([&](const auto& t, DeviceError* error) {
      return t.pack(plugin.device(), &rows, to, error);
    });
  }
}

}  // namespace

CpuModel::CpuModel(const HostModel& host, const Backend& backend) {
  const auto matrix = [&](const HostMatrix& m, bool is_packed) {
    memory_.emplace_back(bytes_in(backend, m, is_packed));
    const MatrixRows rows = m.rows(0, m.n_out);
    if (is_packed) {
      backend.pack(&rows, memory_.back().data());
    } else {
      std::memcpy(memory_.back().data(), m.codes.data(), m.codes.size());
    }
    return Matrix{m.format,       m.n_out,         m.n_in, memory_.back().data(),
                  m.output_scale, m.output_divides};
  };
  fill(tables_, host, matrix, [](const std::vector<float>& v) { return v.data(); });
}

GpuModel::GpuModel(const HostModel& host, const Plugin& plugin) : plugin_(plugin) {
  const auto matrix = [&](const HostMatrix& m, bool is_packed) {
    const int64_t n = bytes_in(plugin.backend(), m, is_packed);
    if (n < 0) throw DeviceFailure(kDeviceUnsupported, "packed_bytes is -1");
    memory_.push_back(std::make_unique<Memory>(plugin, n));
    char* data = memory_.back()->data();
    if (is_packed) {
      pack_on_device(plugin, m, data);
    } else {
      plugin.call([&](const auto& t, DeviceError* error) {
        return t.copy_to(plugin.device(), data, m.codes.data(), n, error);
      });
    }
    return Matrix{m.format, m.n_out, m.n_in, data, m.output_scale, m.output_divides};
  };
  const auto vector = [&](const std::vector<float>& v) {
    const auto n = static_cast<int64_t>(v.size() * sizeof(float));
    memory_.push_back(std::make_unique<Memory>(plugin, n));
    plugin.call([&](const auto& t, DeviceError* error) {
      return t.copy_to(plugin.device(), memory_.back()->data(), v.data(), n, error);
    });
    return reinterpret_cast<const float*>(memory_.back()->data());
  };
  fill(tables_, host, matrix, vector);
  plugin.call([&](const auto& t, DeviceError* error) {
    return t.make_model(plugin.device(), &host.shape, &tables_.weights, &handle_, error);
  });
}

GpuModel::~GpuModel() {
  plugin_.table().free_model(handle_);
}

bool packs_alike(const Plugin& plugin, const HostMatrix& m) {
  const int64_t n = bytes_in(plugin.backend(), m, true);
  if (n < 0) throw DeviceFailure(kDeviceUnsupported, "packed_bytes is -1");
  const Memory device(plugin, n);
  pack_on_device(plugin, m, device.data());
  const Bytes got(n), want(n);
  plugin.call([&](const auto& t, DeviceError* error) {
    return t.copy_from(plugin.device(), got.data(), device.data(), n, error);
  });
  const MatrixRows rows = m.rows(0, m.n_out);
  plugin.backend().pack(&rows, want.data());
  return std::memcmp(got.data(), want.data(), static_cast<size_t>(n)) == 0;
}

}  // namespace check
