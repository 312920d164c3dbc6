#include <vector>

#include "unit/capi/models.h"

namespace {

models::Sampler create(const mm2_sampler_options& options, int32_t n_vocab) {
  mm2_sampler* sampler = nullptr;
  mm2_error err = models::no_error();
  REQUIRE(mm2_sampler_create(&options, n_vocab, &sampler, &err) == MM2_OK);
  return models::Sampler(sampler);
}

mm2_sampler_options defaults() {
  mm2_sampler_options options;
  mm2_sampler_options_init(&options, sizeof options);
  return options;
}

int32_t sample(const models::Sampler& sampler, const std::vector<float>& logits) {
  int32_t token = -1;
  REQUIRE(mm2_sampler_sample(sampler.get(), logits.data(), &token, nullptr, nullptr) == MM2_OK);
  return token;
}

}  // namespace

TEST_CASE("capi sampler: the model's own settings, and only those that it has") {
  const auto model = models::load(nullptr, models::kSmall, true);
  mm2_sampler_options options = defaults();
  options.min_p = 0.125f;
  options.seed = 9;
  REQUIRE(mm2_sampler_options_from_model(model.get(), &options, nullptr) == MM2_OK);
  CHECK(options.temperature == 1);
  CHECK(options.top_p == 0.95f);
  CHECK(options.top_k == 40);
  CHECK(options.min_p == 0.125f);
  CHECK(options.seed == 9);
  CHECK(options.struct_size == sizeof options);
}

TEST_CASE("capi sampler: every option arrives in the chain") {
  const std::vector<float> logits{1, 5, 2, 4};
  mm2_sampler_options options = defaults();
  CHECK(sample(create(options, 4), logits) == 1);
  const mm2_logit_bias bias{2, 10};
  options.biases = &bias;
  options.n_biases = 1;
  CHECK(sample(create(options, 4), logits) == 2);
  options = defaults();
  options.n_tokens = 1;
  CHECK(sample(create(options, 4), logits) == 0);
  options = defaults();
  options.user_data = &options;
  options.edit_logits = [](void* user_data, float* x, int32_t n_vocab) {
    REQUIRE(user_data != nullptr);
    x[n_vocab - 1] = 100;
  };
  CHECK(sample(create(options, 4), logits) == 3);
  options = defaults();
  options.frequency_penalty = 3;
  const auto penalized = create(options, 4);
  const int32_t prompt[] = {1, 1, 1};
  REQUIRE(mm2_sampler_accept_prompt(penalized.get(), prompt, 3, nullptr) == MM2_OK);
  CHECK(sample(penalized, logits) == 1);
  REQUIRE(mm2_sampler_accept(penalized.get(), 1, nullptr) == MM2_OK);
  CHECK(sample(penalized, logits) == 3);
  mm2_sampler_reset(penalized.get());
  CHECK(sample(penalized, logits) == 1);
}

TEST_CASE("capi sampler: seeds, clones and log probabilities") {
  const std::vector<float> logits(100, 0.5f);
  mm2_sampler_options options = defaults();
  options.temperature = 1;
  options.seed = 11;
  options.n_logprobs = 2;
  const auto a = create(options, 100);
  sample(a, logits);
  mm2_sampler* raw = nullptr;
  REQUIRE(mm2_sampler_clone(a.get(), &raw, nullptr) == MM2_OK);
  const models::Sampler b(raw);
  std::vector<int32_t> first, second, other;
  for (int i = 0; i < 20; ++i) first.push_back(sample(a, logits));
  for (int i = 0; i < 20; ++i) second.push_back(sample(b, logits));
  CHECK(first == second);
  REQUIRE(mm2_sampler_set_seed(b.get(), 12, nullptr) == MM2_OK);
  for (int i = 0; i < 20; ++i) other.push_back(sample(b, logits));
  CHECK(first != other);

  mm2_token_logprob top[3];
  int32_t token = -1;
  REQUIRE(mm2_sampler_sample(a.get(), logits.data(), &token, top, nullptr) == MM2_OK);
  CHECK(top[0].token == token);
  CHECK(top[1].token == 0);
  CHECK(top[2].token == 1);
  CHECK(top[0].logprob == Approx(-4.60517f));  // ln(1/100)
}
