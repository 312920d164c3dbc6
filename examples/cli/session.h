// A model, an engine and one sequence on it: what every verb that computes logits stands on.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "handles.h"
#include "options.h"

namespace cli {

/// Loads a checkpoint folder, with progress on standard error.
/// `source`: where its files come from, null = the file system.
Model load_model(const std::string& path, const EngineFlags& flags, bool metadata_only = false,
                 const mm2_source* source = nullptr);
mm2_model_info model_info(const mm2_model* model);
/// Engine options as the flags say; one sequence unless --max-seqs says otherwise, and logits for the
/// last token of each.
mm2_engine_options engine_options(const EngineFlags& flags);
Engine make_engine(const mm2_model* model, const mm2_engine_options& options);
mm2_engine_info engine_info(const mm2_engine* engine);

/// Ids at which an answer ends: those of generation_config.json and of the tokenizer (may be null).
TokenIds stop_ids(const mm2_model* model);
bool is_stop(int32_t id, const TokenIds& stop_ids, const mm2_tokenizer* tokenizer);

/// Text to ids; `flags` as of mm2_tokenizer_encode.
TokenIds encode(const mm2_tokenizer* tokenizer, std::string_view text, uint32_t flags);

/// Sequence 0 of an engine, as a list of tokens that can be set.
class Sequence {
 public:
  explicit Sequence(mm2_engine* engine);

  /// Makes the sequence hold `ids`, keeping the longest common prefix that it already holds.
  /// Returns the logits [n_vocab] after the last token, valid until the next call.
  ///
  /// before_step is told before every step how many tokens are there. Ctrl-C throws Failure with
  /// status MM2_CANCELLED; what was computed until then stays usable.
  using BeforeStep = std::function<void(size_t n_done, size_t n_tokens)>;
  std::span<const float> set(const TokenIds& ids, const BeforeStep& before_step = nullptr);
  /// Appends one token.
  std::span<const float> append(int32_t id);
  /// Appends ids in one step and returns logits [n_outputs, n_vocab] of the last of them.
  std::span<const float> step(std::span<const int32_t> ids, int32_t n_outputs);

  /// Throws Failure unless a sequence of n_tokens fits the engine.
  void require_room(size_t n_tokens, const std::string& doing) const;

  /// Tokens that the engine holds.
  const TokenIds& held() const { return held_; }
  /// Of the last set(): tokens taken over, and tokens computed.
  size_t n_reused() const { return n_reused_; }
  void clear();

  const mm2_engine_info& info() const { return info_; }

 private:
  mm2_engine* engine_;
  mm2_engine_info info_;
  TokenIds held_;
  std::vector<float> logits_;
  size_t n_reused_ = 0;
};

}  // namespace cli
