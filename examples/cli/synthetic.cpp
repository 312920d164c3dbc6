#include "synthetic.h"

#include <algorithm>
#include <cstring>

#include "errors.h"

namespace cli {
namespace {

constexpr int64_t kHidden = 3072, kIntermediate = 1536, kQueryWidth = 48 * 128, kKvWidth = 8 * 128;
constexpr uint64_t kAll = ~uint64_t{0};

// Four numbers of 16 bits, two of 32, eight of 8.
constexpr uint64_t repeat16(uint64_t x) {
  return x * 0x0001000100010001u;
}
constexpr uint64_t repeat32(uint64_t x) {
  return x * 0x0000000100000001u;
}
constexpr uint64_t repeat8(uint64_t x) {
  return x * 0x0101010101010101u;
}

// splitmix64: a word from its index.
uint64_t random_word(uint64_t i) {
  uint64_t z = (i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

Json quantization_config(const std::string& quant) {
  if (quant == "fp8") {
    return {{"quant_method", "fp8"},
            {"fmt", "float8_e4m3fn"},
            {"activation_scheme", "dynamic"},
            {"weight_block_size", {128, 128}},
            {"modules_to_not_convert", {"gate", "e_score_correction_bias", "lm_head"}}};
  }
  if (quant == "w4") {
    const Json weights = {{"num_bits", 4},     {"type", "int"},       {"symmetric", true},
                          {"group_size", 128}, {"strategy", "group"}, {"dynamic", false}};
    return {{"quant_method", "compressed-tensors"},
            {"format", "pack-quantized"},
            {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", weights}}}}},
            {"ignore", {"lm_head", "re:.*block_sparse_moe.gate$"}}};
  }
  const Json four_bits = {
      {"num_bits", 4}, {"type", "float"}, {"group_size", 16}, {"dynamic", false}};
  return {{"quant_method", "modelopt"},
          {"quant_algo", "NVFP4"},
          {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", four_bits}}}}},
          {"ignore", {"lm_head", "*self_attn*", "*block_sparse_moe.gate"}}};
}

}  // namespace

struct SyntheticModel::File {
  bool is_config;
};

SyntheticModel::SyntheticModel(const std::string& shape, const std::string& quant, int32_t n_layers,
                               int64_t n_vocab)
    : path_("synthetic-" + shape + "-" + quant),
      quant_(quant),
      n_experts_(shape == "m2" ? 256 : 192) {
  const auto one_of = [](const std::string& word, std::initializer_list<const char*> words) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  if (!one_of(shape, {"m2", "m2-reap"})) {
    throw Failure(kUsage, "reading --synthetic", "it is " + shape + ", must be m2 or m2-reap");
  }
  if (!one_of(quant, {"w4", "fp8", "nvfp4", "bf16"})) {
    throw Failure(kUsage, "reading --quant", "it is " + quant + ", must be w4, fp8, nvfp4 or bf16");
  }
  Json config = {{"architectures", {"MiniMaxM2ForCausalLM"}},
                 {"model_type", "minimax_m2"},
                 {"hidden_size", kHidden},
                 {"intermediate_size", kIntermediate},
                 {"num_hidden_layers", n_layers},
                 {"num_attention_heads", 48},
                 {"num_key_value_heads", 8},
                 {"head_dim", 128},
                 {"rotary_dim", 64},
                 {"rope_theta", 5000000},
                 {"rms_norm_eps", 1e-6},
                 {"num_local_experts", n_experts_},
                 {"num_experts_per_tok", 8},
                 {"max_position_embeddings", 196608},
                 {"vocab_size", n_vocab},
                 {"tie_word_embeddings", false}};
  if (quant != "bf16") config["quantization_config"] = quantization_config(quant);
  config_ = config.dump();

  add_plain("model.embed_tokens.weight", {n_vocab, kHidden});
  for (int32_t l = 0; l < n_layers; ++l) add_layer(l);
  add("model.norm.weight", "BF16", {kHidden}, {0, repeat16(0x3F80)});
  add_plain("lm_head.weight", {n_vocab, kHidden});

  std::string text = header_.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  head_.assign(reinterpret_cast<const char*>(&length), sizeof length);
  head_ += text;
}

mm2_source SyntheticModel::source() {
  auto source = sized<mm2_source>();
  source.user_data = this;
  source.open = open;
  source.read_at = read_at;
  source.close = [](void*, void* file) { delete static_cast<File*>(file); };
  return source;
}

void SyntheticModel::add(const std::string& name, const char* dtype, std::vector<int64_t> shape,
                         Kind kind) {
  const std::string type(dtype);
  uint64_t bytes = type == "F32" || type == "I32" ? 4 : (type == "BF16" ? 2 : 1);
  for (const int64_t n : shape) bytes *= static_cast<uint64_t>(n);
  header_[name] = {
      {"dtype", dtype}, {"shape", shape}, {"data_offsets", {data_bytes_, data_bytes_ + bytes}}};
  tensors_.push_back({data_bytes_, data_bytes_ + bytes, kind});
  data_bytes_ += bytes;
}

// BF16 of either sign from 2^-7 to 2^-5: a deviation of about one over the root of hidden.
void SyntheticModel::add_plain(const std::string& name, std::vector<int64_t> shape) {
  add(name, "BF16", std::move(shape), {repeat16(0x80FF), repeat16(0x3C00)});
}

void SyntheticModel::add_linear(const std::string& stem, int64_t n_out, int64_t n_in, bool expert) {
  if (quant_ == "w4") {
    add(stem + ".weight_packed", "I32", {n_out, n_in / 8}, {kAll, 0});
    add(stem + ".weight_scale", "BF16", {n_out, n_in / 128}, {repeat16(0x007F), repeat16(0x3B00)});
  } else if (quant_ == "fp8") {
    // Exponents of 8, 10, 12 and 14: most of the range, as trained weights have it, and never NaN.
    add(stem + ".weight", "F8_E4M3", {n_out, n_in}, {repeat8(0xB7), repeat8(0x40)});
    add(stem + ".weight_scale_inv", "F32", {n_out / 128, n_in / 128},
        {repeat32(0x003FFFFF), repeat32(0x39400000)});
  } else if (quant_ == "nvfp4" && expert) {
    add(stem + ".weight", "U8", {n_out, n_in / 2}, {kAll, 0});
    add(stem + ".weight_scale", "F8_E4M3", {n_out, n_in / 16}, {repeat8(0x07), repeat8(0x38)});
    add(stem + ".weight_scale_2", "F32", {}, {0, repeat32(0x3B800000)});
  } else {
    add_plain(stem + ".weight", {n_out, n_in});
  }
}

void SyntheticModel::add_layer(int32_t layer) {
  const std::string stem = "model.layers." + std::to_string(layer) + ".";
  const Kind ones{0, repeat16(0x3F80)};
  add(stem + "input_layernorm.weight", "BF16", {kHidden}, ones);
  add(stem + "post_attention_layernorm.weight", "BF16", {kHidden}, ones);
  add(stem + "self_attn.q_norm.weight", "BF16", {kQueryWidth}, ones);
  add(stem + "self_attn.k_norm.weight", "BF16", {kKvWidth}, ones);
  add_linear(stem + "self_attn.q_proj", kQueryWidth, kHidden, false);
  add_linear(stem + "self_attn.k_proj", kKvWidth, kHidden, false);
  add_linear(stem + "self_attn.v_proj", kKvWidth, kHidden, false);
  add_linear(stem + "self_attn.o_proj", kHidden, kQueryWidth, false);
  const std::string moe = stem + "block_sparse_moe.";
  add(moe + "gate.weight", "F32", {n_experts_, kHidden},
      {repeat32(0x80FFFFFF), repeat32(0x3C000000)});
  add(moe + "e_score_correction_bias", "F32", {n_experts_}, {0, 0});
  for (int64_t e = 0; e < n_experts_; ++e) {
    const std::string expert = moe + "experts." + std::to_string(e) + ".";
    add_linear(expert + "w1", kIntermediate, kHidden, true);
    add_linear(expert + "w2", kHidden, kIntermediate, true);
    add_linear(expert + "w3", kIntermediate, kHidden, true);
  }
}

// Bytes of the data from `offset` on.
void SyntheticModel::fill(uint64_t offset, char* to, size_t n) const {
  auto tensor = std::upper_bound(tensors_.begin(), tensors_.end(), offset,
                                 [](uint64_t at, const Tensor& t) { return at < t.end; });
  while (n > 0) {
    const uint64_t from = offset - tensor->begin;
    const size_t here = std::min<uint64_t>(n, tensor->end - offset);
    const uint64_t seed = tensor->begin / 8;
    size_t done = 0;
    while (done < here) {
      const uint64_t at = from + done;
      const uint64_t word = (random_word(seed + at / 8) & tensor->kind.keep) | tensor->kind.set;
      const size_t skip = at % 8, count = std::min<size_t>(8 - skip, here - done);
      std::memcpy(to + done, reinterpret_cast<const char*>(&word) + skip, count);
      done += count;
    }
    offset += here, to += here, n -= here;
    ++tensor;
  }
}

mm2_status SyntheticModel::open(void* self, const char* name, void** file, uint64_t* size,
                                mm2_error*) {
  const auto& model = *static_cast<const SyntheticModel*>(self);
  const std::string wanted(name);
  const bool is_config = wanted == model.path_ + "/config.json";
  if (!is_config && wanted != model.path_ + "/model.safetensors") return MM2_E_NOT_FOUND;
  *size = is_config ? model.config_.size() : model.head_.size() + model.data_bytes_;
  *file = new File{is_config};
  return MM2_OK;
}

mm2_status SyntheticModel::read_at(void* self, void* file, uint64_t offset, void* to, size_t n,
                                   mm2_error*) {
  const auto& model = *static_cast<const SyntheticModel*>(self);
  const bool is_config = static_cast<const File*>(file)->is_config;
  const std::string& text = is_config ? model.config_ : model.head_;
  auto* out = static_cast<char*>(to);
  if (offset < text.size()) {
    const size_t here = std::min<uint64_t>(n, text.size() - offset);
    std::memcpy(out, text.data() + offset, here);
    offset += here, out += here, n -= here;
  }
  if (n > 0) model.fill(offset - text.size(), out, n);
  return MM2_OK;
}

}  // namespace cli
