#include "mm2/sampler.h"

#include <memory>
#include <span>
#include <utility>

#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/model.h"
#include "capi/structs.h"
#include "sampler/sampler.h"

struct mm2_sampler {
  std::unique_ptr<mm2::Sampler> sampler;
};

static_assert(sizeof(mm2_token_logprob) == sizeof(mm2::TokenLogprob));

namespace mm2::capi {
namespace {

Result<SamplerOptions> read_options(const mm2_sampler_options* from, int32_t n_vocab) {
  MM2_ASSIGN_OR_RETURN(const mm2_sampler_options o, read_struct(from, "options"));
  MM2_RETURN_IF_ERROR(need_range("options.reserved", o.reserved, 0, 0));
  MM2_RETURN_IF_ERROR(need_range("n_vocab", n_vocab, 1, INT32_MAX));
  MM2_RETURN_IF_ERROR(need_range("options.n_biases", o.n_biases, 0, n_vocab));
  if (o.n_biases > 0) MM2_RETURN_IF_ERROR(need(o.biases, "options.biases"));
  SamplerOptions options{.top_k = o.top_k,
                         .temperature = o.temperature,
                         .top_p = o.top_p,
                         .min_p = o.min_p,
                         .repetition_penalty = o.repetition_penalty,
                         .frequency_penalty = o.frequency_penalty,
                         .presence_penalty = o.presence_penalty,
                         .penalty_window = o.penalty_window,
                         .n_logprobs = o.n_logprobs,
                         .n_tokens = o.n_tokens,
                         .logprobs = static_cast<LogprobsOf>(o.logprobs),
                         .seed = o.seed};
  for (int32_t i = 0; i < o.n_biases; ++i)
    options.biases.push_back({o.biases[i].token, o.biases[i].bias});
  if (o.edit_logits != nullptr) {
    options.edit_logits = [edit = o.edit_logits, user_data = o.user_data](std::span<float> x) {
      edit(user_data, x.data(), static_cast<int32_t>(x.size()));
    };
  }
  return options;
}

void take_defaults(const GenerationConfig& from, mm2_sampler_options& to) {
  if (from.temperature) to.temperature = static_cast<float>(*from.temperature);
  if (from.do_sample && !*from.do_sample) to.temperature = 0;
  if (from.top_k) to.top_k = *from.top_k;
  if (from.top_p) to.top_p = static_cast<float>(*from.top_p);
  if (from.min_p) to.min_p = static_cast<float>(*from.min_p);
  if (from.repetition_penalty) to.repetition_penalty = static_cast<float>(*from.repetition_penalty);
}

}  // namespace
}  // namespace mm2::capi

using namespace mm2::capi;  // NOLINT: this file is the border itself
using mm2::Status;

mm2_status mm2_sampler_options_init(mm2_sampler_options* options, size_t size) {
  return init_struct(options, size);
}

mm2_status mm2_sampler_options_from_model(const mm2_model* model, mm2_sampler_options* options,
                                          mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(model, "model"));
    MM2_RETURN_IF_ERROR(check_output(options, "options"));
    MM2_ASSIGN_OR_RETURN(mm2_sampler_options changed, read_struct(options, "options"));
    take_defaults(model->model->generation(), changed);
    write_struct(options, changed);
    return {};
  });
}

mm2_status mm2_sampler_create(const mm2_sampler_options* options, int32_t n_vocab,
                              mm2_sampler** out, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(out, "out"));
    MM2_ASSIGN_OR_RETURN(mm2::SamplerOptions wanted, read_options(options, n_vocab));
    MM2_ASSIGN_OR_RETURN(auto sampler, mm2::Sampler::create(std::move(wanted), n_vocab));
    give(out, std::move(sampler));
    return {};
  });
}

mm2_status mm2_sampler_clone(const mm2_sampler* sampler, mm2_sampler** out, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(sampler, "sampler"));
    MM2_RETURN_IF_ERROR(need(out, "out"));
    give(out, sampler->sampler->clone());
    return {};
  });
}

mm2_status mm2_sampler_sample(mm2_sampler* sampler, const float* logits, int32_t* token,
                              mm2_token_logprob* top, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(sampler, "sampler"));
    MM2_RETURN_IF_ERROR(need(logits, "logits"));
    MM2_RETURN_IF_ERROR(need(token, "token"));
    mm2::Sampler& s = *sampler->sampler;
    const std::span<mm2::TokenLogprob> reported(
        reinterpret_cast<mm2::TokenLogprob*>(top),
        top == nullptr ? 0 : static_cast<size_t>(s.n_logprobs()) + 1);
    MM2_ASSIGN_OR_RETURN(*token, s.sample({logits, static_cast<size_t>(s.n_vocab())}, reported));
    return {};
  });
}

mm2_status mm2_sampler_accept(mm2_sampler* sampler, int32_t token, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(sampler, "sampler"));
    return sampler->sampler->accept(token);
  });
}

mm2_status mm2_sampler_accept_prompt(mm2_sampler* sampler, const int32_t* tokens, size_t n_tokens,
                                     mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(sampler, "sampler"));
    MM2_ASSIGN_OR_RETURN(const auto ids, need_array(tokens, n_tokens, "tokens"));
    return sampler->sampler->accept_prompt(ids);
  });
}

mm2_status mm2_sampler_set_seed(mm2_sampler* sampler, uint64_t seed, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(sampler, "sampler"));
    sampler->sampler->set_seed(seed);
    return {};
  });
}

void mm2_sampler_reset(mm2_sampler* sampler) {
  if (sampler != nullptr) sampler->sampler->reset();
}

void mm2_sampler_destroy(mm2_sampler* sampler) {
  delete sampler;
}
