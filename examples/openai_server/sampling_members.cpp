// The members that every generating endpoint takes.
#include "generation.h"

namespace server {

int32_t Generation::n_choices() const {
  int32_t n = 0;
  for (const Job& job : jobs) n += job.n;
  return n;
}

void need_model(const Service& service, const std::string& name) {
  const auto& names = service.options().served_names;
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  throw BadRequest(
      "the model '" + name.substr(0, 200) + "' is not served here; '" + names.front() + "' is",
      "model", 404, "model_not_found");
}

std::string read_text_part(Members& part) {
  const std::string type = part.required_text("type");
  if (type == "text") return part.required_text("text");
  throw BadRequest(
      part.path("type") + " is '" + type.substr(0, 40) + "'; this model reads and writes text only",
      part.path("type"));
}

void read_stream(Members& body, Generation& g) {
  g.stream = body.flag("stream").value_or(false);
  const Json* options = body.object("stream_options");
  if (options == nullptr) return;
  if (!g.stream) {
    throw BadRequest("stream_options is given, but stream is not true", "stream_options");
  }
  Members members(*options, "stream_options");
  g.include_usage = members.flag("include_usage").value_or(false);
  members.ignore({"include_obfuscation"});
  members.finish();
}

std::string read_model(const Service& service, Members& body) {
  const auto model = body.text("model");
  if (!model) return service.options().served_names.front();
  need_model(service, *model);
  return *model;
}

namespace {

std::vector<mm2_logit_bias> read_logit_bias(const Service& service, Members& body) {
  std::vector<mm2_logit_bias> biases;
  const Json* object = body.object("logit_bias");
  if (object == nullptr) return biases;
  std::set<int32_t> seen;
  for (const auto& [key, value] : object->items()) {
    const std::string where = "logit_bias." + key.substr(0, 40);
    const bool is_id =
        !key.empty() && key.size() <= 9 && key.find_first_not_of("0123456789") == std::string::npos;
    const int32_t token = is_id ? static_cast<int32_t>(std::stol(key)) : -1;
    if (token < 0 || token >= service.n_vocab()) {
      throw BadRequest("logit_bias names '" + key.substr(0, 40) +
                           "', but must name token ids from 0 to " +
                           std::to_string(service.n_vocab() - 1),
                       where);
    }
    const bool in_range =
        value.is_number() && value.get<double>() >= -100 && value.get<double>() <= 100;
    if (!in_range || !seen.insert(token).second) {
      throw BadRequest(where + " is " + kind_of(value) +
                           ", but must be a number from -100 to 100, once for each token",
                       where);
    }
    biases.push_back({token, value.get<float>()});
  }
  return biases;
}

}  // namespace

void read_sampling(const Service& service, Members& body, Job& job) {
  job.sampling = service.default_sampling();
  mm2_sampler_options& s = job.sampling;
  const auto set = [&body](float& to, const char* name, double least, double most) {
    if (const auto value = body.number(name, least, most)) to = static_cast<float>(*value);
  };
  set(s.temperature, "temperature", 0, 2);
  set(s.top_p, "top_p", 0, 1);
  // For the sampler 0 is "off"; for a client it is the smallest share there is.
  if (const Json* top_p = body.find("top_p"); top_p != nullptr && s.top_p == 0) s.top_p = 1e-9F;
  set(s.min_p, "min_p", 0, 1);
  set(s.frequency_penalty, "frequency_penalty", -2, 2);
  set(s.presence_penalty, "presence_penalty", -2, 2);
  set(s.repetition_penalty, "repetition_penalty", 0.01, 10);
  if (const auto top_k = body.integer("top_k", 0, INT32_MAX))
    s.top_k = static_cast<int32_t>(*top_k);
  s.top_k = std::min(s.top_k, service.n_vocab());
  const auto seed = body.integer("seed", 0, INT64_MAX);
  s.seed = seed ? static_cast<uint64_t>(*seed) : service.random_seed();
  job.biases = read_logit_bias(service, body);
  job.ignore_eos = body.flag("ignore_eos").value_or(false);
}

std::vector<std::string> read_stops(Members& body, const std::string& name) {
  const Json* member = body.find(name);
  if (member == nullptr) return {};
  const Json list = member->is_array() ? *member : Json::array({*member});
  if (list.size() > 16) {
    throw BadRequest(
        name + " has " + std::to_string(list.size()) + " entries; at most 16 are taken", name);
  }
  std::vector<std::string> stops;
  for (const Json& stop : list) {
    if (!stop.is_string() || stop.get_ref<const std::string&>().empty() ||
        stop.get_ref<const std::string&>().size() > 256) {
      throw BadRequest(name + " must be a string or an array of strings, of 1 to 256 bytes each",
                       name);
    }
    stops.push_back(stop.get<std::string>());
  }
  return stops;
}

int32_t answer_room(const Service& service, size_t n_prompt, std::optional<int64_t> asked) {
  const int64_t context = service.scheduler().max_model_len();
  const int64_t room = context - static_cast<int64_t>(n_prompt);
  if (n_prompt == 0)
    throw BadRequest("the prompt is empty; at least one token is needed", "prompt");
  if (room < 1) {
    throw BadRequest("the prompt has " + std::to_string(n_prompt) +
                         " tokens, but the context holds " + std::to_string(context) +
                         " with the answer",
                     "messages", 400, "context_length_exceeded");
  }
  if (asked && *asked > room) {
    throw BadRequest("the prompt has " + std::to_string(n_prompt) + " tokens and " +
                         std::to_string(*asked) + " more were asked for: together " +
                         std::to_string(static_cast<int64_t>(n_prompt) + *asked) +
                         ", but the context holds " + std::to_string(context),
                     "messages", 400, "context_length_exceeded");
  }
  return static_cast<int32_t>(asked.value_or(room));
}

void set_owner(Job& job, const Client& client, const std::string& salt) {
  job.owner = client.tenant > 0 ? std::to_string(client.tenant) : client.address;
  job.salt = Service::salt_of(client.tenant, salt);
}

void read_common_rest(const Service& service, Members& body) {
  body.ignore({"user", "metadata", "safety_identifier", "prompt_cache_key", "store"});
  if (const auto tier = body.text("service_tier");
      tier && *tier != "auto" && *tier != "default" && *tier != "standard_only") {
    throw BadRequest(
        "service_tier '" + tier->substr(0, 40) + "' is not known; auto and default are",
        "service_tier");
  }
  for (const char* name :
       {"guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"}) {
    body.refuse(name, "is not supported: this version cannot constrain answers to a grammar");
  }
  for (const char* name :
       {"min_tokens", "stop_token_ids", "bad_words", "length_penalty", "use_beam_search",
        "prompt_logprobs", "truncate_prompt_tokens", "typical_p", "include_stop_str_in_output",
        "logits_processors", "priority"}) {
    body.refuse(name, "is not supported by this version");
  }
  if (!service.options().ignore_unknown) body.finish();
}

}  // namespace server
