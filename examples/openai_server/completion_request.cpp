// POST /v1/completions: what may stand in its body.
#include "generation.h"

namespace server {
namespace {

constexpr size_t kMaxPrompts = 64;

std::vector<int32_t> read_ids(const Service& service, const Json& ids, const std::string& where) {
  std::vector<int32_t> read;
  read.reserve(ids.size());
  for (const Json& id : ids) {
    const bool is_id =
        id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() < service.n_vocab();
    if (!is_id) {
      throw BadRequest(where + " holds " + kind_of(id) + ", but must hold token ids from 0 to " +
                           std::to_string(service.n_vocab() - 1),
                       where);
    }
    read.push_back(id.get<int32_t>());
  }
  return read;
}

std::vector<int32_t> read_prompt(const Service& service, const Json& prompt,
                                 const std::string& where) {
  if (prompt.is_string()) return service.tokenizer().encode(prompt.get_ref<const std::string&>());
  if (prompt.is_array()) return read_ids(service, prompt, where);
  throw BadRequest(
      where + " is " + kind_of(prompt) + ", but must be a string or an array of token ids", where);
}

/// One prompt as a string or as ids, or an array of several.
std::vector<std::vector<int32_t>> read_prompts(const Service& service, Members& body) {
  const Json& prompt = body.required("prompt");
  const bool several = prompt.is_array() && !prompt.empty() && !prompt.front().is_number();
  if (!several) return {read_prompt(service, prompt, "prompt")};
  if (prompt.size() > kMaxPrompts) {
    throw BadRequest("prompt has " + std::to_string(prompt.size()) + " entries; at most " +
                         std::to_string(kMaxPrompts) + " are taken",
                     "prompt");
  }
  std::vector<std::vector<int32_t>> prompts;
  for (size_t i = 0; i < prompt.size(); ++i) {
    prompts.push_back(read_prompt(service, prompt[i], "prompt[" + std::to_string(i) + "]"));
  }
  return prompts;
}

}  // namespace

Generation read_completion_request(const Service& service, const Json& json, const Client& client) {
  Members body(json, "");
  Generation g;
  g.output.raw = true;
  g.model = read_model(service, body);
  auto prompts = read_prompts(service, body);
  read_stream(body, g);
  if (const auto n_logprobs = body.integer("logprobs", 0, 20)) {
    g.logprobs = true;
    g.n_logprobs = static_cast<int32_t>(*n_logprobs);
  }
  g.output.stops = read_stops(body, "stop");
  const auto max_tokens = body.integer("max_tokens", 1, INT32_MAX).value_or(16);
  const auto n = static_cast<int32_t>(body.integer("n", 1, 64).value_or(1));
  const auto best_of = body.integer("best_of", 1, 64);
  if (best_of && *best_of != n) {
    throw BadRequest("best_of " + std::to_string(*best_of) +
                         " is not supported; it must equal n (" + std::to_string(n) + ")",
                     "best_of");
  }
  const bool echo = body.flag("echo").value_or(false);
  if (echo && g.logprobs) {
    throw BadRequest("echo with logprobs is not supported: prompts get no log probabilities",
                     "echo");
  }
  body.refuse("suffix", "is not supported: this model does not fill gaps");
  body.refuse("response_format", "is not supported: this version cannot constrain answers");
  const std::string salt = body.text("cache_salt").value_or("");
  Job common;
  read_sampling(service, body, common);
  read_common_rest(service, body);

  const int64_t n_answers = static_cast<int64_t>(prompts.size()) * n;
  if (n_answers > service.options().max_waiting) {
    throw BadRequest(std::to_string(n_answers) + " answers were asked for; at most " +
                         std::to_string(service.options().max_waiting) + " are given at once",
                     "n");
  }
  for (auto& prompt : prompts) {
    Job job = common;
    job.max_tokens = answer_room(service, prompt.size(), max_tokens);
    g.echoed.push_back(echo ? service.tokenizer().decode(prompt) : "");
    job.prompt = std::move(prompt);
    job.n = n;
    job.first_choice = g.n_choices();
    job.logprobs = g.logprobs;
    job.sampling.n_logprobs = g.n_logprobs;
    set_owner(job, client, salt);
    g.n_prompt_tokens += static_cast<int32_t>(job.prompt.size());
    g.jobs.push_back(std::move(job));
  }
  return g;
}

}  // namespace server
