#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "quant/kv_scales.h"
#include "tensor/convert.h"
#include "tools/derived.h"
#include "tools/doctor.h"
#include "tools/quantize/zeros.h"

namespace mm2 {
namespace {

const char* severity_name(Severity severity) {
  return severity == Severity::error ? "error" : severity == Severity::warning ? "warning" : "note";
}

// One number of a tensor of one, in F32.
Result<float> scalar(const TensorSource& source, const TensorInfo& tensor) {
  if (tensor.shape.n_elements() != 1) {
    return error(Code::format, file_and_name(source, tensor), ": shape ", tensor.shape.to_string(),
                 ", wanted is one number");
  }
  std::byte bytes[8];
  MM2_RETURN_IF_ERROR(source.read(tensor, 0, static_cast<size_t>(tensor.bytes), bytes));
  uint16_t half;
  float value;
  switch (tensor.dtype) {
    case Dtype::f32:
      std::memcpy(&value, bytes, sizeof value);
      return value;
    case Dtype::bf16:
      std::memcpy(&half, bytes, sizeof half);
      return bf16_to_f32(half);
    case Dtype::f16:
      std::memcpy(&half, bytes, sizeof half);
      return f16_to_f32(half);
    default:
      return error(Code::format, file_and_name(source, tensor), ": ", dtype_name(tensor.dtype),
                   " is no type for a scale");
  }
}

// Matrices that engines fuse: q, k, v of a layer; w1 and w3 of an expert. Empty for others.
std::string fused_with(const ViewWeight& weight) {
  const Role role = weight.place.role;
  if (role == Role::q_proj || role == Role::k_proj || role == Role::v_proj) {
    return join("layer ", weight.place.layer, ": q, k and v");
  }
  if (role == Role::w1 || role == Role::w3) {
    return join("layer ", weight.place.layer, ", expert ", weight.place.expert, ": w1 and w3");
  }
  return {};
}

Finding unshared(const std::string& set, float low, float high) {
  return {"shared scales",
          Severity::warning,
          set,
          join("global scales ", low, " and ", high),
          "engines fuse these matrices and take one of the scales for all: the others come out "
          "wrong by the ratio",
          "quantize again from the original with mm2 quantize, which gives them one scale"};
}

}  // namespace

Json Finding::report() const {
  return {{"check", check},   {"severity", severity_name(severity)},
          {"where", where},   {"found", found},
          {"effect", effect}, {"remedy", remedy}};
}

Result<std::vector<Finding>> diagnose_weights(const CheckpointView& view) {
  std::vector<Finding> findings;
  const ModelConfig& c = view.config();
  if (c.top_k > c.n_experts) {
    findings.push_back({"experts", Severity::error, "config.json",
                        join("num_experts_per_tok ", c.top_k, " of ", c.n_experts, " experts"),
                        "no engine can route", "correct config.json"});
  }
  struct Range {
    float low, high;
  };
  std::map<std::string, Range> sets;
  for (const ViewWeight& weight : view.weights()) {
    if (weight.place.role == Role::router && !weight.description.is_plain()) {
      findings.push_back({"router", Severity::error, weight.place.name,
                          "stored as " + weight.description.to_string(),
                          "engines build the router without quantization and stop with a KeyError",
                          "quantize again with the router left out (block_sparse_moe.gate)"});
    }
    const TensorInfo* global = weight.description.part(PartKind::global_scale);
    const std::string set = fused_with(weight);
    if (global == nullptr || set.empty()) continue;
    MM2_ASSIGN_OR_RETURN(const float scale, scalar(view.source(), *global));
    const auto [at, fresh] = sets.try_emplace(set, Range{scale, scale});
    if (!fresh) at->second = {std::min(at->second.low, scale), std::max(at->second.high, scale)};
  }
  for (const auto& [set, range] : sets) {
    if (range.low != range.high) findings.push_back(unshared(set, range.low, range.high));
  }
  return findings;
}

Result<std::optional<float>> input_scale_of(const CheckpointView& view, const ViewWeight& weight) {
  const std::string module = module_name(weight);
  const std::string stem = weight.place.stem.empty() ? module : weight.place.stem;
  if (const TensorInfo* tensor = view.source().find(stem + ".input_scale")) {
    MM2_ASSIGN_OR_RETURN(const float scale, scalar(view.source(), *tensor));
    return std::optional(scale);
  }
  if (const TensorInfo* tensor = view.source().find(stem + ".input_global_scale")) {
    MM2_ASSIGN_OR_RETURN(const float scale, scalar(view.source(), *tensor));
    return std::optional(1.0f / scale);
  }
  return std::optional<float>();
}

Result<std::vector<Finding>> diagnose_input_scales(const CheckpointView& view) {
  struct Group {
    std::vector<std::pair<float, const ViewWeight*>> scales;
    size_t n_missing = 0;
  };
  std::map<std::pair<int32_t, Role>, Group> groups;  // of experts, by layer and role
  for (const ViewWeight& weight : view.weights()) {
    if (weight.place.expert < 0 || weight.description.is_plain()) continue;
    Group& group = groups[{weight.place.layer, weight.place.role}];
    MM2_ASSIGN_OR_RETURN(const auto scale, input_scale_of(view, weight));
    if (scale) {
      group.scales.push_back({*scale, &weight});
    } else {
      ++group.n_missing;
    }
  }
  std::vector<Finding> findings;
  const char* const effect =
      "inputs of these experts saturate or lose precision: seen as inserted spaces, changed case "
      "and "
      "broken path names";
  const char* const remedy =
      "mm2 doctor --fix -o OUT raises them to those of their peers, or calibrate with more tokens";
  for (auto& [key, group] : groups) {
    const std::string where = join("layer ", key.first, ": ", role_name(key.second));
    if (group.scales.empty()) continue;
    if (group.n_missing > 0) {
      findings.push_back({"cold experts", Severity::error, where,
                          join(group.n_missing, " experts have no input_scale, ",
                               group.scales.size(), " have one"),
                          effect, remedy});
    }
    std::sort(group.scales.begin(), group.scales.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    const float median = group.scales[group.scales.size() / 2].first;
    const auto cold = std::count_if(group.scales.begin(), group.scales.end(), [&](const auto& one) {
      return !(one.first >= median / 4) || !std::isfinite(one.first);
    });
    if (cold > 0) {
      findings.push_back({"cold experts", Severity::warning, where,
                          join(cold, " of ", group.scales.size(),
                               " experts have an input_scale below a quarter of the median ",
                               median, "; the least is ", group.scales.front().first, " of ",
                               module_name(*group.scales.front().second)),
                          effect, remedy});
    }
    const bool all_same = group.scales.front().first == group.scales.back().first;
    if (all_same && group.scales.size() > 1 && median == 1.0f) {
      findings.push_back({"cold experts", Severity::note, where, "every input_scale is 1",
                          "activations were not calibrated: right, but coarse for small ones",
                          "mm2 calibrate --collect act, then mm2 quantize --stats"});
    }
  }
  return findings;
}

Result<std::vector<Finding>> diagnose_zeros(const CheckpointView& view) {
  size_t n_matrices = 0;
  uint64_t n_words = 0;
  std::string first;
  std::vector<uint32_t> words;
  for (const ViewWeight& weight : view.weights()) {
    const TensorInfo* zeros = weight.description.part(PartKind::zero);
    if (zeros == nullptr || weight.description.zero != Zero::stored_plus_one) continue;
    words.resize(static_cast<size_t>(zeros->bytes / sizeof(uint32_t)));
    MM2_RETURN_IF_ERROR(
        view.source().read(*zeros, 0, words.size() * sizeof(uint32_t), words.data()));
    const auto n = std::count_if(words.begin(), words.end(), [&](uint32_t word) {
      return coding::has_largest_field(word, weight.description.bits);
    });
    if (n == 0) continue;
    if (n_matrices++ == 0) first = module_name(weight);
    n_words += static_cast<uint64_t>(n);
  }
  if (n_matrices == 0) return std::vector<Finding>();
  const Finding finding = {"zeros",
                           Severity::warning,
                           first,
                           join(n_words, " words of ", n_matrices,
                                " matrices hold a zero stored as the largest code: 0, less one"),
                           "engines do not agree about them: GPTQModel and mm2 add 1 to whole "
                           "words, vLLM to each field, "
                           "and then neighbours differ by a step",
                           "mm2 repack --to gptq_v2 --v1-zeros words (written by GPTQModel, "
                           "AutoRound or mm2), or fields"};
  return std::vector<Finding>{finding};
}

Result<std::vector<float>> largest_k_scales(const CheckpointView& view) {
  constexpr double kLargestCode = 448;
  std::vector<float> all(static_cast<size_t>(view.config().n_layers));
  std::vector<float> norm;
  for (const ViewWeight& weight : view.weights()) {
    if (weight.place.role != Role::k_norm) continue;
    const int64_t width = weight.place.n_cols();
    norm.resize(static_cast<size_t>(width));
    MM2_RETURN_IF_ERROR(view.rows(weight, 0, 1, norm.data()));
    double most = 0;
    for (const float x : norm) most = std::max(most, std::fabs(double{x}));
    all[static_cast<size_t>(weight.place.layer)] =
        static_cast<float>(std::sqrt(static_cast<double>(width)) * most / kLargestCode);
  }
  return all;
}

namespace {

// Scales that no calibration can have seen.
void judge_sizes(const KvScales& scales, std::span<const float> bounds, size_t n_heads,
                 std::vector<Finding>& findings) {
  const auto large = [](float x) { return x > 0.5f; };
  const auto n = std::count_if(scales.k.begin(), scales.k.end(), large) +
                 std::count_if(scales.v.begin(), scales.v.end(), large);
  if (n > 0) {
    findings.push_back(
        {"KV scales", Severity::warning, "self_attn", join(n, " scales above 0.5"),
         "keys or values above 224 are not seen in this family: a faulty calibration",
         "mm2 kv-scales --stats of calibrate --collect kv"});
    return;
  }
  // Tools calibrate in BF16: a little more than can be.
  constexpr float kRounding = 1.01f;
  for (size_t i = 0; i < scales.k.size(); ++i) {
    const float bound = bounds[i / n_heads];
    if (scales.k[i] <= bound * kRounding) continue;
    findings.push_back(
        {"KV scales", Severity::warning, join("layer ", i / n_heads),
         join("k_scale is ", scales.k[i], ", k_norm allows ", bound, " at most"),
         "keys lose precision: the scale is of another model, or from before the norm",
         "mm2 kv-scales --stats of calibrate --collect kv"});
    return;
  }
}

}  // namespace

Result<std::vector<Finding>> diagnose_kv_scales(const CheckpointView& view) {
  std::vector<Finding> findings;
  const auto places = locate_kv_scales(view.source(), view.config().n_layers);
  if (!places.ok()) {
    findings.push_back({"KV scales", Severity::error, view.folder(), places.status().message(),
                        "engines stop or take 1", "mm2 kv-scales --import or --strip"});
    return findings;
  }
  size_t n_biases = 0;
  for (const TensorInfo* tensor : view.others()) {
    n_biases += is_kv_bias(tensor->name);
  }
  if (n_biases > 0) {
    findings.push_back(
        {"KV scales", Severity::warning, "self_attn", join(n_biases, " biases of an affine cache"),
         "engines stop at tensors that they do not know, or pass over them and are off",
         "mm2 kv-scales --strip-bias"});
  }
  const Json scheme = view.config().quantization.is_object()
                          ? view.config().quantization.value("kv_cache_scheme", Json())
                          : Json();
  if (places->empty()) {
    if (!scheme.is_null()) {
      findings.push_back({"KV scales", Severity::warning, "config.json",
                          "kv_cache_scheme is set, no scales are there",
                          "engines take 1: keys and values above 448 saturate",
                          "mm2 kv-scales --stats of calibrate --collect kv"});
    }
    return findings;
  }
  const auto scales = read_kv_scales(*places, view.source(), view.config().n_kv_heads);
  if (!scales.ok()) {
    findings.push_back({"KV scales", Severity::error, view.folder(), scales.status().message(),
                        "an FP8 cache gives NaN or nothing", "mm2 kv-scales --stats or --strip"});
    return findings;
  }
  const auto all_one = [](const std::vector<float>& all) {
    return std::all_of(all.begin(), all.end(), [](float x) { return x == 1.0f; });
  };
  if (all_one(scales->k) && all_one(scales->v)) {
    findings.push_back({"KV scales", Severity::note, "self_attn", "every scale is 1",
                        "nobody calibrated, or a tool clamped them: small keys lose precision",
                        "mm2 kv-scales --stats of calibrate --collect kv"});
  } else {
    MM2_ASSIGN_OR_RETURN(const auto bounds, largest_k_scales(view));
    judge_sizes(*scales, bounds, static_cast<size_t>(view.config().n_kv_heads), findings);
  }
  return findings;
}

}  // namespace mm2
