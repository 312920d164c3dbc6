#include "service.h"

#include <random>

namespace server {
namespace {

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

uint64_t random_bits() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

/// A bijection that makes consecutive numbers look unrelated.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

std::vector<int32_t> stop_ids_of(const mm2::Model& model) {
  const Json description = Json::parse(model.describe());
  const auto generation = description.find("generation");
  if (generation == description.end() || !generation->contains("eos_token_ids")) return {};
  return (*generation)["eos_token_ids"].get<std::vector<int32_t>>();
}

mm2::Model load(const ServeOptions& options) {
  auto load_options = mm2::make<mm2_model_options>();
  load_options.device = options.device;
  load_options.device_index = options.device_index;
  if (!options.device_plugin.empty()) load_options.device_plugin = options.device_plugin.c_str();
  load_options.isa = options.isa;
  load_options.n_threads = options.threads;
  return mm2::Model::load(options.model, &load_options);
}

}  // namespace

Service::Service(const ServeOptions& options)
    : options_(options),
      model_(load(options)),
      tokenizer_(mm2::Tokenizer::load(options.model)),
      template_(mm2::ChatTemplate::load(options.chat_template.empty() ? options.model
                                                                      : options.chat_template)),
      defaults_(model_.sampler_options()),
      stop_ids_(stop_ids_of(model_)),
      next_id_(random_bits()),
      key_(random_bits()) {
  defaults_.n_tokens = tokenizer_.n_tokens();
  auto engine_options = mm2::make<mm2_engine_options>();
  engine_options.max_seqs = options.max_num_seqs;
  engine_options.max_tokens_per_step = std::max(options.max_tokens_per_step, options.max_num_seqs);
  engine_options.max_outputs_per_step = options.max_num_seqs;
  engine_options.kv_tokens = options.kv_tokens;
  engine_options.kv_dtype = options.kv_dtype;
  engine_options.kv_scales = options.kv_scales;
  engine_options.activations = options.activations;
  engine_options.n_threads = options.threads;
  engine_options.prefix_cache = options.prefix_cache ? MM2_YES : MM2_NO;
  engine_ = model_.create_engine(&engine_options);

  SchedulerOptions scheduling;
  scheduling.max_model_len = options.max_model_len;
  scheduling.max_waiting = options.max_waiting;
  scheduling.chunked_prefill = options.chunked_prefill;
  scheduling.slow_reader = std::chrono::seconds(options.slow_reader_seconds);
  scheduler_ = std::make_unique<Scheduler>(
      *engine_, [this](int32_t token) { return is_stop(token); }, scheduling);
}

bool Service::is_stop(int32_t token) const {
  return std::find(stop_ids_.begin(), stop_ids_.end(), token) != stop_ids_.end() ||
         tokenizer_.is_stop(token);
}

std::string Service::new_id(const std::string& prefix) const {
  char digits[33];
  std::snprintf(digits, sizeof digits, "%016llx%08llx",
                static_cast<unsigned long long>(mix(next_id_++)),
                static_cast<unsigned long long>(key_ & 0xFFFFFFFF));
  return prefix + digits;
}

uint64_t Service::random_seed() const {
  return mix(next_id_++ ^ key_) >> 1;
}

uint64_t Service::salt_of(size_t tenant, const std::string& text) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  // The tenant's own bits: whatever a client writes, it stays among its own prefixes.
  return static_cast<uint64_t>(tenant) << 48 | (text.empty() ? 0 : mix(hash) >> 16);
}

Service::Prompt Service::render(const Json& messages, const Json* tools, bool thinking,
                                const Json* kwargs, bool add_generation_prompt) const {
  Json request = {{"messages", messages}, {"add_generation_prompt", add_generation_prompt}};
  if (tools != nullptr) request["tools"] = *tools;
  if (kwargs != nullptr) request["kwargs"] = *kwargs;
  if (!thinking) request["kwargs"]["enable_thinking"] = false;
  mm2::ChatTemplate::Prompt rendered;
  try {
    rendered = template_.render(tokenizer_, to_text(request));
  } catch (const mm2::Error& error) {
    if (error.code() == MM2_E_OUT_OF_MEMORY) throw;
    throw BadRequest(error.what(), "messages");
  }
  Prompt prompt{std::move(rendered.ids),
                add_generation_prompt &&
                    (ends_with(rendered.text, "<think>\n") || ends_with(rendered.text, "<think>"))};
  if (prompt.starts_in_think && !thinking) {
    // A template without that switch: reasoning that is over before it began has the same effect.
    const auto closing = tokenizer_.encode("</think>\n\n", MM2_PARSE_SPECIAL);
    prompt.ids.insert(prompt.ids.end(), closing.begin(), closing.end());
    prompt.starts_in_think = false;
  }
  return prompt;
}

}  // namespace server
