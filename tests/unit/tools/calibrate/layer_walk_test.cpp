#include "tools/calibrate/layer_walk.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <map>

#include "engine/engine.h"

using namespace mm2;

namespace {

const std::string kModels = std::string(MM2_TEST_DATA) + "/models/";

std::shared_ptr<CheckpointView> open(const std::string& name) {
  auto view = CheckpointView::open(kModels + name, {});
  INFO(view.status().message());
  REQUIRE(view.ok());
  return *view;
}

// Three samples, one of them longer than a chunk; the first tokens of the second do not count.
TokenSamples sample_tokens(int32_t n_vocab) {
  TokenSamples samples;
  samples.starts.push_back(0);
  uint32_t state = 12345;
  for (const size_t length : {5, 40, 600}) {
    for (size_t i = 0; i < length; ++i) {
      state = state * 1664525u + 1013904223u;
      samples.tokens.push_back(static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(n_vocab)));
      samples.counted.push_back(length == 40 && i < 10 ? 0 : 1);
    }
    samples.starts.push_back(samples.tokens.size());
  }
  return samples;
}

CollectOptions everything() {
  return {.reap = true, .imatrix = true, .amax = true, .kv = true, .hessian = true};
}

struct Walked {
  std::vector<float> hidden;
  std::vector<std::unique_ptr<LayerObservation>> layers;
};

Walked walk_through(const CheckpointView& view, const TokenSamples& samples, int32_t threads) {
  auto executor = make_thread_team(threads);
  REQUIRE(executor.ok());
  auto walk = LayerWalk::create(view, samples, *executor, {});
  REQUIRE(walk.ok());
  const ModelConfig& c = view.config();
  Walked walked;
  walked.hidden.resize(samples.n_tokens() * static_cast<size_t>(c.hidden));
  REQUIRE((*walk)->embed(walked.hidden).ok());
  for (int32_t l = 0; l < c.n_layers; ++l) {
    walked.layers.push_back(std::make_unique<LayerObservation>(
        c.n_experts, c.hidden, c.q_width(), c.intermediate, c.n_kv_heads, everything()));
    const Status status = (*walk)->layer(l, walked.hidden, everything(), *walked.layers.back());
    INFO(status.message());
    REQUIRE(status.ok());
  }
  return walked;
}

// What the FP64 reference engine sees of the same tokens.
struct Reference {
  std::map<int32_t, std::vector<double>> expert_in, weights, hidden;
  std::map<int32_t, std::vector<int32_t>> ids;
};

void remember(void* self, const char* name, int32_t layer, const void* values, int32_t number,
              int64_t n_rows, int64_t width) {
  auto& reference = *static_cast<Reference*>(self);
  const auto n = static_cast<size_t>(n_rows * width);
  const auto keep = [&](auto& to) {
    const auto* from = static_cast<const std::remove_reference_t<decltype(to[0])>*>(values);
    to.insert(to.end(), from, from + n);
  };
  if (std::strcmp(name, "topk_ids") == 0) keep(reference.ids[layer]);
  if (number != kernels::kF64) return;
  if (std::strcmp(name, "expert_in") == 0) keep(reference.expert_in[layer]);
  if (std::strcmp(name, "topk_weights") == 0) keep(reference.weights[layer]);
  if (std::strcmp(name, "hidden") == 0) keep(reference.hidden[layer]);
}

Reference run_reference(const std::string& name, const TokenSamples& samples) {
  Reference reference;
  ModelOptions model_options;
  model_options.isa = Isa::reference_f64;
  auto model = Model::load(kModels + name, model_options, {});
  REQUIRE(model.ok());
  EngineOptions options;
  options.max_seqs = 4;
  options.max_tokens_per_step = 1024;
  options.n_threads = 2;
  auto engine = Engine::create(*model, options, {});
  INFO(engine.status().message());
  REQUIRE(engine.ok());
  const kernels::Observer observer{&reference, &remember};
  (*engine)->observe(&observer);
  for (size_t s = 0; s < samples.size(); ++s) {
    const auto n = static_cast<int32_t>(samples.starts[s + 1] - samples.starts[s]);
    const SeqRows row{static_cast<int32_t>(s), 0, n, 0};
    const std::span tokens(samples.tokens.data() + samples.starts[s], static_cast<size_t>(n));
    REQUIRE((*engine)->step({&row, 1}, tokens, {}, {}).ok());
  }
  return reference;
}

std::vector<float> numbers(const CheckpointView& view, Role role, int32_t layer, int32_t expert) {
  for (const ViewWeight& weight : view.weights()) {
    if (weight.place.role != role || weight.place.layer != layer || weight.place.expert != expert) {
      continue;
    }
    std::vector<float> all(static_cast<size_t>(weight.place.shape.n_elements()));
    REQUIRE(view.rows(weight, 0, weight.place.n_rows(), all.data()).ok());
    return all;
  }
  FAIL("no such weight");
  return {};
}

// Of one layer, from the reference's inputs and choices: FP64 throughout.
std::vector<double> reference_saliency(const CheckpointView& view, const Reference& reference,
                                       const TokenSamples& samples, int32_t layer) {
  const ModelConfig& c = view.config();
  const auto hidden = static_cast<size_t>(c.hidden), inner = static_cast<size_t>(c.intermediate);
  const auto top_k = static_cast<size_t>(c.top_k);
  std::vector<double> saliency(static_cast<size_t>(c.n_experts));
  const auto dot = [&](const float* row, const double* x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += row[i] * x[i];
    return sum;
  };
  for (int32_t e = 0; e < c.n_experts; ++e) {
    const std::vector<float> w1 = numbers(view, Role::w1, layer, e);
    const std::vector<float> w3 = numbers(view, Role::w3, layer, e);
    const std::vector<float> w2 = numbers(view, Role::w2, layer, e);
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < samples.n_tokens() * top_k; ++i) {
      if (reference.ids.at(layer)[i] != e || !samples.counted[i / top_k]) continue;
      const double* x = reference.expert_in.at(layer).data() + i / top_k * hidden;
      std::vector<double> product(inner);
      for (size_t r = 0; r < inner; ++r) {
        const double gate = dot(w1.data() + r * hidden, x, hidden);
        product[r] = gate / (1 + std::exp(-gate)) * dot(w3.data() + r * hidden, x, hidden);
      }
      double squares = 0;
      for (size_t r = 0; r < hidden; ++r) {
        const double y = dot(w2.data() + r * inner, product.data(), inner);
        squares += y * y;
      }
      sum += reference.weights.at(layer)[i] * std::sqrt(squares);
      ++n;
    }
    if (n > 0) saliency[static_cast<size_t>(e)] = sum / static_cast<double>(n);
  }
  return saliency;
}

double relative(double a, double b) {
  return std::fabs(a - b) / std::max(1e-30, std::fabs(b));
}

}  // namespace

TEST_CASE("layer walk: saliencies are those of the FP64 reference to 1e-5") {
  const std::string name = GENERATE("bf16", "gptq_desc_act", "nvfp4_modelopt");
  const auto view = open(name);
  const TokenSamples samples = sample_tokens(view->config().n_vocab);
  const Walked walked = walk_through(*view, samples, 2);
  const Reference reference = run_reference(name, samples);
  size_t n_compared = 0;
  for (int32_t l = 0; l < view->config().n_layers; ++l) {
    const auto wanted = reference_saliency(*view, reference, samples, l);
    const auto seen = walked.layers[static_cast<size_t>(l)]->experts.saliency(SaliencyMethod::reap);
    // A token whose choice of experts hangs on the last bit of F32 may go elsewhere: only layers in
    // which all choices agree can be compared, and almost all must.
    std::vector<uint64_t> counts(wanted.size());
    for (size_t i = 0; i < reference.ids.at(l).size(); ++i) {
      if (samples.counted[i / static_cast<size_t>(view->config().top_k)])
        ++counts[static_cast<size_t>(reference.ids.at(l)[i])];
    }
    bool same_choices = true;
    for (size_t e = 0; e < wanted.size(); ++e) {
      same_choices &=
          counts[e] ==
          walked.layers[static_cast<size_t>(l)]->experts.expert(static_cast<int32_t>(e)).n_tokens;
    }
    if (!same_choices) continue;
    for (size_t e = 0; e < wanted.size(); ++e) {
      CHECK(relative(seen[e], wanted[e]) <= 1e-5);
      ++n_compared;
    }
  }
  CHECK(n_compared >= static_cast<size_t>(view->config().n_experts));
}

TEST_CASE("layer walk: nothing depends on the number of threads") {
  const auto view = open("fp8");
  const TokenSamples samples = sample_tokens(view->config().n_vocab);
  const Walked one = walk_through(*view, samples, 1), three = walk_through(*view, samples, 3);
  CHECK(one.hidden == three.hidden);
  for (size_t l = 0; l < one.layers.size(); ++l) {
    const LayerObservation &a = *one.layers[l], &b = *three.layers[l];
    CHECK(a.experts.saliency(SaliencyMethod::reap) == b.experts.saliency(SaliencyMethod::reap));
    CHECK(a.k_amax == b.k_amax);
    CHECK(std::ranges::equal(a.attention_in.hessian(), b.attention_in.hessian()));
    for (size_t e = 0; e < a.w2_in.size(); ++e) {
      CHECK(std::ranges::equal(a.w2_in[e].squares(), b.w2_in[e].squares()));
      CHECK(std::ranges::equal(a.w2_in[e].hessian(), b.w2_in[e].hessian()));
      CHECK(a.w2_in[e].amax() == b.w2_in[e].amax());
    }
  }
}

TEST_CASE("layer walk: the sums are those of the rows that count") {
  const auto view = open("bf16");
  const TokenSamples samples = sample_tokens(view->config().n_vocab);
  const Walked walked = walk_through(*view, samples, 2);
  for (const auto& layer : walked.layers) {
    CHECK(layer->attention_in.n_rows() == static_cast<int64_t>(samples.n_counted()));
    int64_t routed = 0;
    for (size_t e = 0; e < layer->w1_in.size(); ++e) {
      const InputSums& in = layer->w1_in[e];
      CHECK(in.n_rows() ==
            static_cast<int64_t>(layer->experts.expert(static_cast<int32_t>(e)).n_tokens));
      routed += in.n_rows();
      // The diagonal of the Hessian is the sum of squares, in F32 over at most 600 rows.
      const auto width = in.squares().size();
      for (size_t c = 0; c < width; ++c) {
        CHECK(std::fabs(in.hessian()[c * width + c] - in.squares()[c]) <=
              600 * 0x1p-24 * in.squares()[c]);
      }
    }
    CHECK(routed == static_cast<int64_t>(samples.n_counted()) * view->config().top_k);
    for (const float amax : layer->k_amax) CHECK(amax > 0);
  }
}
