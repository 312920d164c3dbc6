#include "generation.h"

#include <chrono>

#include "interrupt.h"

namespace cli {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

bool has_room(const Sequence& sequence) {
  const auto n = static_cast<int64_t>(sequence.held().size());
  return n < sequence.info().kv_tokens && n < sequence.info().max_positions;
}

void run(Sequence& sequence, const GenerationRequest& request,
         const std::function<void(int32_t)>& on_token, GenerationResult& result) {
  const auto sampler = make<Sampler>("making a sampler", mm2_sampler_create, &request.sampling,
                                     sequence.info().n_vocab);
  auto begin = Clock::now();
  std::span<const float> logits = sequence.set(request.prompt, request.before_prompt_step);
  result.prefill_seconds = seconds_since(begin);
  result.n_reused = sequence.n_reused();
  call("starting the sampler", mm2_sampler_accept_prompt, sampler.get(), request.prompt.data(),
       request.prompt.size());

  begin = Clock::now();
  result.stop = Stop::max_tokens;
  while (static_cast<int32_t>(result.ids.size()) < request.max_tokens) {
    int32_t id = 0;
    call("sampling", mm2_sampler_sample, sampler.get(), logits.data(), &id, nullptr);
    call("sampling", mm2_sampler_accept, sampler.get(), id);
    if (is_stop(id, request.stop_ids, request.tokenizer)) {
      result.stop = Stop::end_of_turn;
      break;
    }
    result.ids.push_back(id);
    on_token(id);
    if (static_cast<int32_t>(result.ids.size()) == request.max_tokens) break;
    if (!has_room(sequence)) {
      result.stop = Stop::no_room;
      break;
    }
    logits = sequence.append(id);
    ++result.n_decode_steps;
    result.decode_seconds = seconds_since(begin);
  }
}

}  // namespace

const char* stop_name(Stop stop) {
  switch (stop) {
    case Stop::end_of_turn:
      return "stop";
    case Stop::interrupted:
      return "interrupted";
    default:
      return "length";
  }
}

GenerationResult generate(Sequence& sequence, const GenerationRequest& request,
                          const std::function<void(int32_t)>& on_token) {
  GenerationResult result;
  try {
    run(sequence, request, on_token, result);
  } catch (const Failure& failure) {
    if (failure.status() != MM2_CANCELLED) throw;
    result.stop = Stop::interrupted;
  }
  return result;
}

}  // namespace cli
