// A checked request, whatever endpoint it came through, and the readers of each endpoint.
#pragma once

#include "json.h"
#include "output.h"
#include "service.h"

namespace server {

/// Who asks: decides about seats and about whose cached prefixes are found.
struct Client {
  size_t tenant = 0;    // number of the API key; 0 = no keys are asked for
  std::string address;  // of the peer
};

struct Generation {
  std::vector<Job> jobs;  // with channel left empty
  OutputOptions output;
  bool stream = false;
  bool include_usage = false;
  bool logprobs = false;
  int32_t n_logprobs = 0;
  int32_t n_prompt_tokens = 0;
  std::string model;  // as the request names it
  // Of /v1/completions with echo: what each prompt's answers begin with.
  std::vector<std::string> echoed;

  int32_t n_choices() const;
};

/// The bodies of the endpoints, checked and rendered. All throw BadRequest.
Generation read_chat_request(const Service& service, const Json& body, const Client& client);
Generation read_completion_request(const Service& service, const Json& body, const Client& client);
Generation read_messages_request(const Service& service, const Json& body, const Client& client);

/// Parts that they share.
/// Throws BadRequest 404 for a name that is not served.
void need_model(const Service& service, const std::string& name);
std::string read_model(const Service& service, Members& body);
/// temperature, top_p, top_k, min_p, penalties, seed, logit_bias, ignore_eos into every job.
void read_sampling(const Service& service, Members& body, Job& job);
/// stream and stream_options, as OpenAI has them.
void read_stream(Members& body, Generation& g);
/// The text of a part of a message; throws where the part is anything but text.
std::string read_text_part(Members& part);
std::vector<std::string> read_stops(Members& body, const std::string& name);
/// `asked`, or all that the context leaves. Throws when the prompt alone fills it.
int32_t answer_room(const Service& service, size_t n_prompt, std::optional<int64_t> asked);
void set_owner(Job& job, const Client& client, const std::string& salt);
/// What no endpoint supports, and what changes nothing.
void read_common_rest(const Service& service, Members& body);

/// OpenAI's messages and tools as the chat template takes them; throws BadRequest.
Json read_messages(const Json& messages);
Json read_tools(const Json& tools);
/// chat_template_kwargs without enable_thinking, which goes to `thinking`.
Json read_template_kwargs(Members& body, bool& thinking);
/// Anthropic's messages, system and tools as OpenAI's.
Json messages_from_anthropic(Members& body);
Json tools_from_anthropic(const Json& tools);

}  // namespace server
