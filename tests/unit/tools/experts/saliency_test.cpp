#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "support/golden.h"
#include "tools/experts/routing.h"
#include "tools/experts/selection.h"

using namespace mm2;

namespace {

const std::string kReap = std::string(MM2_TEST_DATA) + "/tools/reap/";

struct Layer {
  Json json;
  std::vector<float> router, bias, w1, w2, w3, tokens;
  MoeWeights weights;
};

std::vector<Layer> golden_layers() {
  const Json file = golden::read_json(kReap + "reap.json");
  const golden::Tensors tensors(kReap + "reap.safetensors");
  std::vector<Layer> layers;
  for (const Json& json : file.at("layers")) {
    const std::string tag = json.at("layer").get<std::string>() + "/";
    Layer layer{json,
                tensors.read(tag + "router.weight"),
                tensors.read(tag + "router.e_score_correction_bias"),
                tensors.read(tag + "w1"),
                tensors.read(tag + "w2"),
                tensors.read(tag + "w3"),
                tensors.read(tag + "tokens"),
                {}};
    layers.push_back(std::move(layer));
  }
  for (Layer& layer : layers) {
    const auto e = static_cast<int32_t>(layer.bias.size());
    const auto h = static_cast<int32_t>(layer.router.size()) / e;
    const auto m = static_cast<int32_t>(layer.w1.size()) / e / h;
    layer.weights = {e, 4, h, m, layer.router, layer.bias, layer.w1, layer.w3, layer.w2};
  }
  return layers;
}

// 1e-12 relative: the golden sums are rounded at each of at most 960 additions in F64.
void check_close(const std::vector<double>& ours, const Json& theirs) {
  REQUIRE(ours.size() == theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) {
    INFO("expert " << i);
    CHECK(std::fabs(ours[i] - theirs[i].get<double>()) <= 1e-12 * std::fabs(ours[i]));
  }
}

}  // namespace

TEST_CASE("saliency: REAP, EAN, frequencies and norms of the golden layers agree") {
  for (const Layer& layer : golden_layers()) {
    LayerSaliency stats(layer.weights.n_experts);
    REQUIRE(observe_layer(layer.weights, layer.tokens, stats).ok());
    check_close(stats.saliency(SaliencyMethod::reap), layer.json.at("reap"));
    check_close(stats.saliency(SaliencyMethod::frequency), layer.json.at("frequency"));
    check_close(stats.saliency(SaliencyMethod::ean_sum), layer.json.at("ean_sum"));
    check_close(stats.saliency(SaliencyMethod::ean_mean), layer.json.at("ean_mean"));
    check_close(stats.saliency(SaliencyMethod::weighted_ean_sum),
                layer.json.at("weighted_ean_sum"));
    check_close(stats.saliency(SaliencyMethod::weighted_frequency_sum),
                layer.json.at("weighted_frequency_sum"));
    std::vector<double> norms;
    for (int32_t e = 0; e < stats.n_experts(); ++e) norms.push_back(stats.expert(e).largest_norm);
    check_close(norms, layer.json.at("max_norm"));
    for (const auto& [name, wrong] : layer.json.at("wrong_variants").items()) {
      INFO(name);
      const std::vector<double> right = stats.saliency(SaliencyMethod::reap);
      double largest = 0;
      for (size_t i = 0; i < right.size(); ++i) {
        largest = std::max(largest, std::fabs(right[i] - wrong[i].get<double>()));
      }
      CHECK(largest > 1e-3);  // the comparison above could not miss it
    }
  }
}

TEST_CASE("saliency: keep lists of every ratio and method agree, with what they remove") {
  const std::pair<const char*, SaliencyMethod> methods[] = {
      {"keep_by_reap", SaliencyMethod::reap},
      {"keep_by_frequency", SaliencyMethod::frequency},
      {"keep_by_ean_sum", SaliencyMethod::ean_sum}};
  int n = 0;
  for (const Layer& layer : golden_layers()) {
    LayerSaliency stats(layer.weights.n_experts);
    REQUIRE(observe_layer(layer.weights, layer.tokens, stats).ok());
    for (const auto& [field, method] : methods) {
      for (const auto& [ratio, expected] : layer.json.at(field).items()) {
        INFO(field << " " << ratio);
        const int32_t n_removed = n_removed_of_ratio(stats.n_experts(), std::stod(ratio));
        CHECK(n_removed == expected.at("n_prune").get<int32_t>());
        const auto choice = choose_experts(stats.saliency(method), n_removed, 4);
        REQUIRE(choice.ok());
        CHECK(Json(choice->kept) == expected.at("keep"));
        CHECK(Json(choice->removed) == expected.at("pruned_in_order"));
        CHECK(choice->gap ==
              Approx(expected.at("gap_at_the_cut_relative").get<double>()).epsilon(1e-9));
        ++n;
        if (method != SaliencyMethod::reap) continue;
        const RemovedShare share = removed_share(stats, choice->removed);
        const Json& removed = layer.json.at("removed_share").at(ratio);
        CHECK(share.saliency == Approx(removed.at("saliency_mass").get<double>()).epsilon(1e-12));
        CHECK(share.weight == Approx(removed.at("gate_mass").get<double>()).epsilon(1e-12));
        CHECK(share.tokens == Approx(removed.at("routed_pairs").get<double>()).epsilon(1e-12));
      }
    }
  }
  CHECK(n == 36);
}

TEST_CASE("saliency: tokens in any order and any number of accumulators give the same bits") {
  const std::vector<Layer> layers = golden_layers();
  const Layer& layer = layers.front();
  const auto h = static_cast<size_t>(layer.weights.hidden);
  const size_t n_tokens = layer.tokens.size() / h;
  LayerSaliency whole(layer.weights.n_experts);
  REQUIRE(observe_layer(layer.weights, layer.tokens, whole).ok());
  std::mt19937 random(3);
  for (const size_t n_parts : {1u, 2u, 7u}) {
    std::vector<size_t> order(n_tokens);
    for (size_t i = 0; i < n_tokens; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    std::vector<LayerSaliency> parts(n_parts, LayerSaliency(layer.weights.n_experts));
    for (size_t i = 0; i < n_tokens; ++i) {
      const std::span token(&layer.tokens[order[i] * h], h);
      REQUIRE(observe_layer(layer.weights, token, parts[i % n_parts]).ok());
    }
    LayerSaliency merged(layer.weights.n_experts);
    for (size_t i = n_parts; i-- > 0;) REQUIRE(merged.merge(parts[i]).ok());
    CHECK(merged.n_tokens() == n_tokens);
    for (const SaliencyMethod method :
         {SaliencyMethod::reap, SaliencyMethod::reap_l2, SaliencyMethod::ean_sum,
          SaliencyMethod::weighted_frequency_sum, SaliencyMethod::max_activations}) {
      CHECK(merged.saliency(method) == whole.saliency(method));
    }
  }
}

TEST_CASE("routing: top-k selection with bias, weight without") {
  const double logits[] = {2, 1, 0, -1};
  const float bias[] = {-1, 0, 0, 1};
  int32_t experts[2];
  double weights[2];
  REQUIRE(route_token(logits, bias, experts, weights).ok());
  CHECK(experts[0] == 3);  // sigmoid(-1) + 1 is the largest
  CHECK(experts[1] == 1);
  const auto s = [](double x) { return 1 / (1 + std::exp(-x)); };
  CHECK(weights[0] == s(-1) / (s(-1) + s(1)));
  CHECK(weights[1] == s(1) / (s(-1) + s(1)));
  const double equal[] = {0.5, 0.5, 0.5, 0.5};
  const float none[] = {0, 0, 0, 0};
  REQUIRE(route_token(equal, none, experts, weights).ok());
  CHECK(experts[0] == 0);
  CHECK(experts[1] == 1);
  const double nan[] = {0, std::nan(""), 0, 0};
  CHECK(route_token(nan, none, experts, weights).code() == Code::numeric);
}

TEST_CASE("saliency: what cannot be is refused, and nothing of it is counted") {
  LayerSaliency stats(4);
  const int32_t twice[] = {1, 1}, far[] = {0, 4}, good[] = {0, 3};
  const double ones[] = {1, 1}, nan[] = {1, std::nan("")}, negative[] = {-1, 1};
  CHECK(stats.add_token(twice, ones, ones, ones).code() == Code::invalid_argument);
  CHECK(stats.add_token(far, ones, ones, ones).code() == Code::invalid_argument);
  CHECK(stats.add_token(good, ones, nan, ones).code() == Code::numeric);
  CHECK(stats.add_token(good, negative, ones, ones).code() == Code::numeric);
  CHECK(stats.add_token(good, {ones, 1}, ones, ones).code() == Code::invalid_argument);
  CHECK(stats.n_tokens() == 0);
  CHECK(stats.expert(0).n_tokens == 0);
  CHECK(stats.merge(LayerSaliency(5)).code() == Code::invalid_argument);
  REQUIRE(stats.add_token(good, ones, ones, negative).ok());
  CHECK(stats.saliency(SaliencyMethod::max_activations) == std::vector<double>{-1, 0, 0, 1});
  CHECK(saliency_method("weighted_expert_frequency_sum") == SaliencyMethod::weighted_frequency_sum);
  CHECK_FALSE(saliency_method("magic"));
}
