// The endpoints that generate nothing.
#include <cmath>

#include "routes.h"

namespace server {

Json Routes::models() const {
  Json list = Json::array();
  for (const std::string& name : service_.options().served_names) list.push_back(model(name));
  return {{"object", "list"}, {"data", list}};
}

Json Routes::model(const std::string& name) const {
  need_model(service_, name);
  return {{"id", name},
          {"object", "model"},
          {"created", started_},
          {"owned_by", "mm2"},
          {"max_model_len", service_.scheduler().max_model_len()}};
}

Json Routes::tokenize(const Json& json) const {
  Members body(json, "");
  read_model(service_, body);
  std::vector<int32_t> ids;
  if (body.find("messages") != nullptr) {
    const Json messages = read_messages(*body.array("messages", 4096));
    const Json* tools = body.array("tools", 512);
    const Json read = tools == nullptr ? Json::array() : read_tools(*tools);
    bool thinking = true;
    const Json kwargs = read_template_kwargs(body, thinking);
    const bool prompt = body.flag("add_generation_prompt").value_or(true);
    ids = service_
              .render(messages, read.empty() ? nullptr : &read, thinking,
                      kwargs.is_null() ? nullptr : &kwargs, prompt)
              .ids;
  } else {
    // As in /v1/completions: the spelling of an added token is ordinary text.
    ids = service_.tokenizer().encode(body.required_text("prompt"));
  }
  const bool wants_strings = body.flag("return_token_strs").value_or(false);
  body.ignore({"add_special_tokens"});
  body.finish();
  Json answer = {{"count", ids.size()},
                 {"max_model_len", service_.scheduler().max_model_len()},
                 {"tokens", ids}};
  if (wants_strings) {
    Json strings = Json::array();
    for (const int32_t id : ids) strings.push_back(service_.tokenizer().decode({id}));
    answer["token_strs"] = strings;
  }
  return answer;
}

Json Routes::detokenize(const Json& json) const {
  Members body(json, "");
  read_model(service_, body);
  body.required("tokens");
  std::vector<int32_t> ids;
  for (const Json& id : *body.array("tokens", 1 << 20)) {
    const bool named = id.is_number_integer() && id.get<int64_t>() >= 0 &&
                       id.get<int64_t>() < service_.n_named_tokens();
    if (!named) {
      throw BadRequest("tokens holds " + kind_of(id) + ", but must hold token ids from 0 to " +
                           std::to_string(service_.n_named_tokens() - 1),
                       "tokens");
    }
    ids.push_back(id.get<int32_t>());
  }
  body.finish();
  return {{"prompt", service_.tokenizer().decode(ids)}};
}

Json Routes::count_tokens(const Json& body) const {
  Json with_room = body;
  with_room["max_tokens"] = 1;
  with_room.erase("stream");
  return {{"input_tokens", read_messages_request(service_, with_room, {}).n_prompt_tokens}};
}

// For the page: what the scheduler and the engine count.
Json Routes::stats() const {
  const Totals t = service_.scheduler().totals();
  const Json engine = Json::parse(
      service_.scheduler().on_engine_thread([](mm2::Engine& running) { return running.stats(); }));
  return {{"model", service_.options().served_names.front()},
          {"max_model_len", service_.scheduler().max_model_len()},
          {"max_num_seqs", service_.scheduler().max_seqs()},
          {"running", t.running},
          {"waiting", t.waiting},
          {"paused", t.paused},
          {"batch", t.last_batch},
          {"jobs", t.jobs},
          {"finished", t.finished},
          {"cancelled", t.cancelled},
          {"failed", t.failed},
          {"preemptions", t.preemptions},
          {"most_unwanted_steps", t.most_unwanted_steps},
          {"prompt_tokens", t.prompt_tokens},
          {"cached_tokens", t.cached_tokens},
          {"generated_tokens", t.generated_tokens},
          {"engine", engine}};
}

namespace {

void add_line(std::string& text, const char* name, const char* type, const char* help,
              double value) {
  text += std::string("# HELP ") + name + " " + help + "\n# TYPE " + name + " " + type + "\n" +
          name + " " + Json(value).dump() + "\n";
}

void add_histogram(std::string& text, const char* name, const char* help, const Histogram& h) {
  const std::string n = name;
  text += "# HELP " + n + " " + help + "\n# TYPE " + n + " histogram\n";
  uint64_t below = 0;
  for (size_t i = 0; i < h.counts.size(); ++i) {
    below += h.counts[i];
    const std::string bound =
        i < Histogram::kBounds.size() ? Json(Histogram::kBounds[i]).dump() : "+Inf";
    text += n + "_bucket{le=\"" + bound + "\"} " + std::to_string(below) + "\n";
  }
  text += n + "_sum " + Json(h.sum).dump() + "\n" + n + "_count " + std::to_string(below) + "\n";
}

}  // namespace

std::string metrics_text(const Totals& t) {
  std::string text;
  const auto counter = [&text](const char* name, const char* help, uint64_t value) {
    add_line(text, name, "counter", help, static_cast<double>(value));
  };
  const auto gauge = [&text](const char* name, const char* help, int64_t value) {
    add_line(text, name, "gauge", help, static_cast<double>(value));
  };
  counter("mm2_jobs_total", "Prompts that were taken.", t.jobs);
  counter("mm2_answers_finished_total", "Answers that ended by themselves.", t.finished);
  counter("mm2_answers_cancelled_total", "Answers whose client went away.", t.cancelled);
  counter("mm2_answers_failed_total", "Answers that ended with an error.", t.failed);
  counter("mm2_requests_refused_total", "Requests that the queue did not take.", t.refused);
  counter("mm2_slow_readers_total", "Answers dropped because nobody read them.", t.slow_readers);
  counter("mm2_preemptions_total", "Sequences that made room for others.", t.preemptions);
  counter("mm2_steps_total", "Steps of the engine.", t.steps);
  counter("mm2_prompt_tokens_total", "Tokens of prompts computed.", t.prompt_tokens);
  counter("mm2_cached_tokens_total", "Tokens of prompts found in the cache.", t.cached_tokens);
  counter("mm2_generated_tokens_total", "Tokens generated.", t.generated_tokens);
  add_line(text, "mm2_step_seconds_total", "counter", "Time inside the engine.", t.step_seconds);
  add_line(text, "mm2_busy_seconds_total", "counter", "Time of the engine thread with work.",
           t.busy_seconds);
  gauge("mm2_sequences_running", "Sequences that hold a seat.", t.running);
  gauge("mm2_sequences_waiting", "Sequences in the queue.", t.waiting);
  gauge("mm2_sequences_paused", "Sequences whose client does not read.", t.paused);
  gauge("mm2_kv_blocks", "Blocks of the key/value pool.", t.kv_blocks);
  gauge("mm2_kv_free_blocks", "Blocks that no sequence holds.", t.kv_free_blocks);
  gauge("mm2_unwanted_steps_max",
        "Most steps of one sequence after its client was known to be gone.", t.most_unwanted_steps);
  add_histogram(text, "mm2_time_to_first_token_seconds", "From the request to its first token.",
                t.first_token);
  add_histogram(text, "mm2_time_between_tokens_seconds", "From one token to the next.",
                t.between_tokens);
  return text;
}

}  // namespace server
