#include "model/fingerprint.h"

#include <algorithm>
#include <vector>

namespace mm2 {
namespace {

constexpr size_t kSampled = 512;       // tensors
constexpr size_t kSampleBytes = 4096;  // of each, from its middle

template <typename... Pieces>
void add_text(Blake2b& hash, const Pieces&... pieces) {
  const std::string text = join(pieces..., "\n");
  hash.add(text.data(), text.size());
}

}  // namespace

Result<Digest> fingerprint_of(const kernels::ModelShape& s, const KvScales& kv_scales,
                              const Checkpoint& checkpoint) {
  Blake2b hash;
  add_text(hash, s.n_layers, " ", s.hidden, " ", s.n_heads, " ", s.n_kv_heads, " ", s.head_dim, " ",
           s.rotary_dim, " ", s.n_experts, " ", s.top_k, " ", s.intermediate, " ", s.n_vocab);
  hash.add(&s.rms_norm_eps, sizeof s.rms_norm_eps);
  hash.add(&s.rope_theta, sizeof s.rope_theta);
  for (const auto* scales : {&kv_scales.k, &kv_scales.v}) {
    hash.add(scales->data(), scales->size() * sizeof(float));
  }
  std::vector<const TensorInfo*> tensors;
  for (const TensorInfo& tensor : checkpoint.tensors()) tensors.push_back(&tensor);
  std::ranges::sort(tensors, {}, &TensorInfo::name);
  for (const TensorInfo* tensor : tensors) {
    add_text(hash, tensor->name, " ", static_cast<int32_t>(tensor->dtype), " ",
             tensor->shape.to_string());
  }
  const size_t n = std::min(kSampled, tensors.size());
  std::vector<std::byte> sample(kSampleBytes);
  for (size_t i = 0; i < n; ++i) {
    const TensorInfo& tensor = *tensors[i * tensors.size() / n];
    const size_t bytes = std::min<uint64_t>(kSampleBytes, tensor.bytes);
    MM2_RETURN_IF_ERROR(checkpoint.read(tensor, (tensor.bytes - bytes) / 2, bytes, sample.data()));
    hash.add(sample.data(), bytes);
  }
  return hash.finish();
}

}  // namespace mm2
