// Text to token ids and back, as Hugging Face tokenizers does it for the M2 family.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/host.h"
#include "base/status.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/vocabulary.h"

namespace mm2 {

struct TokenizerFile;

/// Immutable once loaded: any number of threads may use it at once.
class Tokenizer {
 public:
  /// Loads a tokenizer. `path` is a tokenizer.json (its name ends in ".json") or a folder that
  /// holds tokenizer.json and perhaps tokenizer_config.json and generation_config.json, from which
  /// the stop ids come. Uses host.source and host.log.
  /// Errors: not_found, io; format (which field of which file, and what stands there); unsupported
  /// (another pipeline than that of the family).
  static Result<std::shared_ptr<const Tokenizer>> load(const std::string& path, const Host& host);

  /// Token ids of a text; none is added in front or behind.
  ///
  /// `text` may hold any bytes. Each maximal ill-formed part counts as U+FFFD, before anything else
  /// is done; NUL is a character like others.
  ///
  /// With `parse_special`, spellings of added tokens become their ids, as Hugging Face does it:
  /// leftmost, then longest, on the raw text (those marked "normalized": on the normalised text
  /// between them). Without it, no added token at all comes out: a text that spells "]~b]" or
  /// "<think>" becomes the ordinary pieces of these characters, so that nothing a user wrote can
  /// open a turn, close one, or call a tool. That holds for special and for other added tokens.
  ///
  /// Time O(n log n) at worst, memory about 25 bytes per byte of the longest piece.
  /// Errors: invalid_argument above 2^31 - 1 bytes.
  Result<std::vector<int32_t>> encode(std::string_view text, bool parse_special) const;

  /// The same, appended to *ids, which an error leaves alone.
  Status encode(std::string_view text, bool parse_special, std::vector<int32_t>* ids) const;

  /// Text of ids: their bytes joined, then U+FFFD for each maximal part that is not UTF-8 (also
  /// where an added token cuts a character). `skip_special` leaves special tokens out beforehand.
  /// Errors: invalid_argument for an id without a token.
  Result<std::string> decode(std::span<const int32_t> ids, bool skip_special) const;

  /// Number of ids that have a token, added ones included; the highest such id plus one.
  int32_t n_tokens() const { return vocabulary_.n_tokens(); }
  int32_t id_end() const { return vocabulary_.id_end(); }
  bool has(int32_t id) const { return vocabulary_.has(id); }
  /// The bytes of one token; empty for ids without a token. Valid as long as the tokenizer.
  std::string_view bytes(int32_t id) const;
  /// The id of the token with exactly these bytes, added tokens first.
  std::optional<int32_t> find(std::string_view bytes) const;

  bool is_added(int32_t id) const { return has(id) && (kinds_[id] & kAdded) != 0; }
  bool is_special(int32_t id) const { return has(id) && (kinds_[id] & kSpecial) != 0; }
  bool is_stop(int32_t id) const { return has(id) && (kinds_[id] & kStop) != 0; }

  const std::vector<AddedToken>& added_tokens() const { return added_; }  // in the file's order
  /// Ids that end a generation, ascending: eos_token_id of generation_config.json and eos_token of
  /// tokenizer_config.json; if neither says anything, "[e~[" where there is such a token.
  const std::vector<int32_t>& stop_ids() const { return stop_ids_; }

  /// {"type", "normalizer", "n_tokens", "id_end", "n_merges", "stop_ids", "added_tokens": [{"id",
  /// "content", "special", "normalized", "single_word", "lstrip", "rstrip"}]}
  std::string describe() const;

  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

 private:
  enum Kind : uint8_t { kAdded = 1, kSpecial = 2, kStop = 4 };
  struct EncodeScratch;

  explicit Tokenizer(TokenizerFile file);
  void set_stop_ids(std::vector<int32_t> ids, const Log& log);
  // All of these take well-formed UTF-8 and append to *ids.
  void encode_raw(std::string_view text, EncodeScratch* scratch, std::vector<int32_t>* ids) const;
  void encode_gap(std::string_view text, EncodeScratch* scratch, std::vector<int32_t>* ids) const;
  void encode_pieces(std::string_view text, EncodeScratch* scratch,
                     std::vector<int32_t>* ids) const;
  std::string_view normalize(std::string_view text, std::string* buffer) const;

  Vocabulary vocabulary_;
  Bpe bpe_;
  std::vector<AddedToken> added_;
  AddedTokenMatcher raw_matcher_;         // points into added_
  AddedTokenMatcher normalized_matcher_;  // points into added_
  std::vector<uint8_t> kinds_;            // [id_end] of Kind
  std::vector<int32_t> stop_ids_;
  bool normalizes_ = false;
  bool ignore_merges_ = false;
};

}  // namespace mm2
