#include "quant/kv_scales.h"

#include <array>
#include <cfloat>

#include "quant/scales.h"

namespace mm2 {
namespace {

constexpr std::array<std::string_view, 6> kForK = {"k_proj.k_scale",   "k_scale",  "attn.k_scale",
                                                   "qkv_proj.k_scale", "kv_scale", "attn.kv_scale"};
constexpr std::array<std::string_view, 6> kForV = {"v_proj.v_scale",   "v_scale",  "attn.v_scale",
                                                   "qkv_proj.v_scale", "kv_scale", "attn.kv_scale"};

struct Found {
  const TensorInfo* tensor = nullptr;
  size_t spelling = 0;
};

Status find_one(const TensorSource& source, int32_t layer,
                const std::array<std::string_view, 6>& names, Found& found) {
  for (size_t i = 0; i < names.size(); ++i) {
    const TensorInfo* tensor = source.find(join("model.layers.", layer, ".self_attn.", names[i]));
    if (tensor == nullptr) continue;
    if (found.tensor != nullptr) {
      return error(Code::format, file_and_name(source, *tensor), ": layer ", layer, " has ",
                   found.tensor->name, " for the same; one of them must go");
    }
    found = {tensor, i};
  }
  return {};
}

// All layers have the scale under the same name and in the same shape, or none has it.
Status all_alike(const TensorSource& source, const std::vector<Found>& found, const char* what) {
  for (size_t layer = 1; layer < found.size(); ++layer) {
    const Found &a = found[0], &b = found[layer];
    if ((a.tensor == nullptr) != (b.tensor == nullptr)) {
      const bool first = a.tensor != nullptr;
      return error(Code::format, file_and_name(source, first ? *a.tensor : *b.tensor), ": layer ",
                   first ? 0 : layer, " has a scale of ", what, ", layer ", first ? layer : 0,
                   " has none");
    }
    if (a.tensor == nullptr) continue;
    if (a.spelling == b.spelling && a.tensor->shape == b.tensor->shape) continue;
    return error(Code::format, file_and_name(source, *b.tensor), ": ", b.tensor->shape.to_string(),
                 ", but layer 0 has ", a.tensor->name, " ", a.tensor->shape.to_string(),
                 "; all layers must have the same");
  }
  return {};
}

Status read_one(const TensorInfo& tensor, const TensorSource& source, int64_t n_heads, float* to) {
  const int64_t n = tensor.shape.n_elements();
  if (!is_plain_float(tensor.dtype) || (n != 1 && n != n_heads)) {
    return error(Code::format, file_and_name(source, tensor), ": it is ", dtype_name(tensor.dtype),
                 " ", tensor.shape.to_string(), ", must be F32, F16 or BF16 with 1 element or ",
                 n_heads);
  }
  std::vector<std::byte> raw(tensor.bytes);
  MM2_RETURN_IF_ERROR(source.read(tensor, 0, raw.size(), raw.data()));
  widen_scales(tensor.dtype, raw.data(), n, to);
  const ScaleRule rule{.least = FLT_MIN, .most = FLT_MAX / 448};
  for (int64_t i = 0; i < n; ++i) {
    const std::string fault = scale_fault(rule, to[i]);
    if (fault.empty()) continue;
    return error(Code::format, file_and_name(source, tensor), ": the KV scale at [", i, "] ",
                 fault);
  }
  for (int64_t i = n; i < n_heads; ++i) to[i] = to[0];
  return {};
}

}  // namespace

bool is_kv_bias(std::string_view name) {
  return name.ends_with(".k_bias") || name.ends_with(".v_bias");
}

Result<KvScalePlaces> locate_kv_scales(const TensorSource& source, int32_t n_layers) {
  std::vector<Found> k(static_cast<size_t>(n_layers)), v(k.size());
  for (int32_t layer = 0; layer < n_layers; ++layer) {
    const auto l = static_cast<size_t>(layer);
    MM2_RETURN_IF_ERROR(find_one(source, layer, kForK, k[l]));
    MM2_RETURN_IF_ERROR(find_one(source, layer, kForV, v[l]));
  }
  MM2_RETURN_IF_ERROR(all_alike(source, k, "keys"));
  MM2_RETURN_IF_ERROR(all_alike(source, v, "values"));
  KvScalePlaces places;
  const bool has_k = !k.empty() && k[0].tensor != nullptr;
  const bool has_v = !v.empty() && v[0].tensor != nullptr;
  if (!has_k && !has_v) return places;
  if (!has_k || !has_v) {
    places.remark = join("there are scales of ", has_k ? "keys" : "values", " (",
                         (has_k ? k : v)[0].tensor->name, ") but not of ",
                         has_k ? "values" : "keys", "; they serve for both");
  }
  for (size_t l = 0; l < k.size(); ++l) {
    places.k.push_back(has_k ? k[l].tensor : v[l].tensor);
    places.v.push_back(has_v ? v[l].tensor : k[l].tensor);
  }
  return places;
}

Result<KvScales> read_kv_scales(const KvScalePlaces& places, const TensorSource& source,
                                int32_t n_kv_heads) {
  KvScales scales;
  const auto n_heads = static_cast<size_t>(n_kv_heads);
  scales.k.resize(places.k.size() * n_heads);
  scales.v.resize(places.v.size() * n_heads);
  for (size_t l = 0; l < places.k.size(); ++l) {
    float* k = scales.k.data() + l * n_heads;
    float* v = scales.v.data() + l * n_heads;
    MM2_RETURN_IF_ERROR(read_one(*places.k[l], source, n_kv_heads, k));
    MM2_RETURN_IF_ERROR(read_one(*places.v[l], source, n_kv_heads, v));
  }
  return scales;
}

}  // namespace mm2
