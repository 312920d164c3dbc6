// tokenizer.json of the M2 family, read and checked.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/vocabulary.h"

namespace mm2 {

/// What tokenizer.json says. `vocabulary` holds the added tokens too, but only those of model.vocab
/// can be found in it by their bytes.
struct TokenizerFile {
  Vocabulary vocabulary;
  Bpe bpe;
  std::vector<AddedToken> added;
  bool normalizes = false;           // NFC
  bool ignore_merges = false;        // a piece that is a token becomes that token
  std::vector<std::string> ignored;  // settings that are there and have no effect: "truncation"
};

/// Reads both spellings of tokenizer.json. `what` names the text in messages. Errors name the
/// field: Code::unsupported for a pipeline other than the family's (normalizer NFC or none; Split
/// by the family's pattern, then ByteLevel; BPE; ByteLevel decoder), Code::format for all else.
Result<TokenizerFile> read_tokenizer_file(std::string_view text, const std::string& what);

}  // namespace mm2
