// A loaded model with everything that requests need of it.
#pragma once

#include <memory>

#include "json.h"
#include "options.h"
#include "scheduler.h"

namespace server {

class Service {
 public:
  /// Loads everything; throws mm2::Error or std::runtime_error.
  explicit Service(const ServeOptions& options);

  struct Prompt {
    std::vector<int32_t> ids;
    bool starts_in_think = false;  // the model goes on inside its reasoning
  };
  /// A conversation as the model sees it. tools and kwargs may be null. Throws BadRequest with the
  /// template's or the reader's words.
  Prompt render(const Json& messages, const Json* tools, bool thinking, const Json* kwargs,
                bool add_generation_prompt = true) const;

  const ServeOptions& options() const { return options_; }
  const mm2::Tokenizer& tokenizer() const { return tokenizer_; }
  Scheduler& scheduler() const { return *scheduler_; }
  int32_t n_vocab() const { return engine_->info().n_vocab; }
  int32_t n_named_tokens() const { return defaults_.n_tokens; }
  /// What generation_config.json says, over greedy.
  const mm2_sampler_options& default_sampling() const { return defaults_; }
  /// "<prefix><24 hexadecimal digits>", never twice.
  std::string new_id(const std::string& prefix) const;
  uint64_t random_seed() const;
  /// Requests with this `text` share cached prefixes within their tenant, and with nobody else.
  static uint64_t salt_of(size_t tenant, const std::string& text);

 private:
  bool is_stop(int32_t token) const;

  ServeOptions options_;
  mm2::Model model_;
  mm2::Tokenizer tokenizer_;
  mm2::ChatTemplate template_;
  mm2_sampler_options defaults_;
  std::vector<int32_t> stop_ids_;
  std::optional<mm2::Engine> engine_;
  std::unique_ptr<Scheduler> scheduler_;  // after the engine: it ends first
  mutable std::atomic<uint64_t> next_id_;
  uint64_t key_;
};

}  // namespace server
