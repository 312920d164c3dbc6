// synth: a checkpoint of the true shapes with random weights, for measuring tools and engines without
// the model.
#include <cmath>
#include <cstring>

#include "format/names.h"
#include "tensor/convert.h"
#include "tools/config_words.h"
#include "tools/quantize/quantize.h"
#include "tools/stream/write.h"
#include "tools/tool_options.h"
#include "tools/verbs.h"
#include "tools/writing.h"

namespace mm2 {
namespace {

constexpr double kSpread = 0.02;  // standard deviation of the weights

struct Options {
  std::string shape = "m2", to = "fp8";
  int32_t layers = 2, experts = 0;
  int64_t seed = 0;
};

// SplitMix64: every number from its place alone, so that pieces may be made in any order.
uint64_t random_bits(uint64_t key, uint64_t place) {
  uint64_t z = key + (place + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// A bell: the sum of eight bytes, scaled to the spread; at most 3.5 spreads away from 0.
float random_weight(uint64_t key, uint64_t place) {
  const uint64_t bits = random_bits(key, place);
  int sum = 0;
  for (int i = 0; i < 64; i += 8) sum += static_cast<int>(bits >> i & 0xff);
  constexpr double kOfSum = 209.0;  // standard deviation of the sum
  return static_cast<float>((sum - 1020) * (kSpread / kOfSum));
}

uint64_t key_of(std::string_view name, int64_t seed) {
  uint64_t key = 1469598103934665603u ^ static_cast<uint64_t>(seed);
  for (const char c : name) key = (key ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return key;
}

Json config_of(const Options& options) {
  const int32_t n_experts = options.experts > 0          ? options.experts
                            : options.shape == "m2-reap" ? 192
                                                         : 256;
  return {{"architectures", {"MiniMaxM2ForCausalLM"}},
          {"model_type", "minimax_m2"},
          {"hidden_size", 3072},
          {"intermediate_size", 1536},
          {"num_hidden_layers", options.layers},
          {"num_attention_heads", 48},
          {"num_key_value_heads", 8},
          {"head_dim", 128},
          {"rotary_dim", 64},
          {"rope_theta", 5000000},
          {"rms_norm_eps", 1e-6},
          {"num_local_experts", n_experts},
          {"num_experts_per_tok", 8},
          {"vocab_size", 200064},
          {"max_position_embeddings", 196608},
          {"scoring_func", "sigmoid"},
          {"use_routing_bias", true},
          {"use_qk_norm", true},
          {"qk_norm_type", "per_layer"},
          {"tie_word_embeddings", false},
          {"torch_dtype", "bfloat16"}};
}

class Maker {
 public:
  Maker(const Options& options, WritePlan& plan) : options_(options), plan_(plan) {}

  void matrix(const std::string& module, int64_t rows, int64_t cols, bool linear) {
    if (linear && options_.to == "fp8") {
      fp8(module, rows, cols);
    } else {
      numbers(module + ".weight", {rows, cols}, Dtype::bf16, false);
    }
  }

  // Vectors: near 1 (norms) or near 0.
  void numbers(const std::string& name, const Shape& shape, Dtype dtype, bool near_one) {
    const uint32_t to = plan_.add(name, dtype, shape);
    const uint64_t key = key_of(name, options_.seed);
    const uint64_t width = dtype == Dtype::f32 ? 4 : 2;
    for_each_slab(shape.n_rows(), shape.n_cols(), 1, [&](int64_t first, int64_t n) {
      const auto from = static_cast<uint64_t>(first * shape.n_cols());
      const auto count = static_cast<uint64_t>(n * shape.n_cols());
      Piece piece;
      piece.outputs = {{to, from * width, count * width}};
      piece.run = [=](PieceRun& run) -> Status {
        for (uint64_t i = 0; i < count; ++i) {
          const float value = random_weight(key, from + i) + (near_one ? 1.0f : 0.0f);
          const uint16_t narrow = f32_to_bf16(value);
          const void* bytes = width == 4 ? static_cast<const void*>(&value) : &narrow;
          std::memcpy(run.outputs[0].data() + i * width, bytes, width);
        }
        return {};
      };
      plan_.pieces.push_back(std::move(piece));
    });
  }

 private:
  void fp8(const std::string& module, int64_t rows, int64_t cols) {
    const uint32_t codes = plan_.add(module + ".weight", Dtype::f8_e4m3, {rows, cols});
    const int64_t blocks = (cols + 127) / 128;
    const uint32_t scales =
        plan_.add(module + ".weight_scale_inv", Dtype::f32, {(rows + 127) / 128, blocks});
    const uint64_t key = key_of(module, options_.seed);
    for_each_slab(rows, cols, 128, [&](int64_t first, int64_t n) {
      const int64_t n_blocks = (n + 127) / 128;
      Piece piece;
      piece.outputs = {
          {codes, static_cast<uint64_t>(first * cols), static_cast<uint64_t>(n * cols)},
          {scales, static_cast<uint64_t>(first / 128 * blocks * 4),
           static_cast<uint64_t>(n_blocks * blocks * 4)}};
      piece.scratch = static_cast<uint64_t>(n * cols) * sizeof(float);
      piece.run = [=](PieceRun& run) -> Status {
        auto* weights = reinterpret_cast<float*>(run.scratch.data());
        for (int64_t i = 0; i < n * cols; ++i) {
          weights[i] = random_weight(key, static_cast<uint64_t>(first * cols + i));
        }
        return quantize_fp8({weights, n, cols, first}, {},
                            reinterpret_cast<uint8_t*>(run.outputs[0].data()),
                            reinterpret_cast<float*>(run.outputs[1].data()));
      };
      plan_.pieces.push_back(std::move(piece));
    });
  }

  const Options& options_;
  WritePlan& plan_;
};

void add_layer(Maker& make, const ModelConfig& c, int32_t layer) {
  const std::string prefix = join("model.layers.", layer, ".");
  const std::string attention = prefix + "self_attn.", moe = prefix + "block_sparse_moe.";
  make.numbers(prefix + "input_layernorm.weight", {c.hidden}, Dtype::bf16, true);
  make.matrix(attention + "q_proj", c.q_width(), c.hidden, true);
  make.matrix(attention + "k_proj", c.kv_width(), c.hidden, true);
  make.matrix(attention + "v_proj", c.kv_width(), c.hidden, true);
  make.matrix(attention + "o_proj", c.hidden, c.q_width(), true);
  make.numbers(attention + "q_norm.weight", {c.q_width()}, Dtype::bf16, true);
  make.numbers(attention + "k_norm.weight", {c.kv_width()}, Dtype::bf16, true);
  make.numbers(prefix + "post_attention_layernorm.weight", {c.hidden}, Dtype::bf16, true);
  make.numbers(moe + "gate.weight", {c.n_experts, c.hidden}, Dtype::f32, false);
  make.numbers(moe + "e_score_correction_bias", {c.n_experts}, Dtype::f32, false);
  for (int32_t e = 0; e < c.n_experts; ++e) {
    const std::string expert = join(moe, "experts.", e, ".");
    make.matrix(expert + "w1", c.intermediate, c.hidden, true);
    make.matrix(expert + "w2", c.hidden, c.intermediate, true);
    make.matrix(expert + "w3", c.intermediate, c.hidden, true);
  }
}

}  // namespace

Status run_synth(const Json& json, const Host& host, Json* report) {
  static constexpr std::string_view kOwn[] = {"shape", "to", "layers", "experts", "seed"};
  static constexpr std::string_view kShapes[] = {"m2", "m2-reap"}, kTypes[] = {"fp8", "bf16"};
  MM2_ASSIGN_OR_RETURN(const WritingVerb verb, WritingVerb::read("synth", json, kOwn, host));
  Options options;
  const OptionReader reader = verb.reader();
  MM2_RETURN_IF_ERROR(reader.word("shape", kShapes, options.shape));
  MM2_RETURN_IF_ERROR(reader.word("to", kTypes, options.to));
  MM2_RETURN_IF_ERROR(reader.integer("layers", 1, 1000, options.layers));
  MM2_RETURN_IF_ERROR(reader.integer("experts", 8, 100'000, options.experts));
  MM2_RETURN_IF_ERROR(reader.integer("seed", 0, INT64_MAX, options.seed));
  Json config = config_of(options);
  if (options.to == "fp8") {
    WrittenWeights written;
    written.spec.dialect = find_dialect("fp8_block");
    config["quantization_config"] = quantization_words(written);
  }
  MM2_ASSIGN_OR_RETURN(const ModelConfig c, parse_config(config.dump(), "synth", host.log));
  WritePlan plan;
  plan.recipe = {{"shape", options.shape},
                 {"to", options.to},
                 {"layers", options.layers},
                 {"experts", c.n_experts},
                 {"seed", options.seed}};
  Maker make(options, plan);
  make.matrix("model.embed_tokens", c.n_vocab, c.hidden, false);
  for (int32_t l = 0; l < c.n_layers; ++l) add_layer(make, c, l);
  make.numbers("model.norm.weight", {c.hidden}, Dtype::bf16, true);
  make.matrix("lm_head", c.n_vocab, c.hidden, false);
  plan.files.push_back({"config.json", config_text(config), ""});
  return verb.write(plan, report);
}

}  // namespace mm2
