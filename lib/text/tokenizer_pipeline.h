// The small parts of tokenizer.json: which pipeline it describes, and the added tokens.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/added_tokens.h"

namespace mm2 {

/// Members of an object in the order of the file: name, text of the value.
using JsonMembers = std::vector<std::pair<std::string, std::string_view>>;

struct TokenizerPipeline {
  bool normalizes = false;
  bool ignore_merges = false;
  std::vector<AddedToken> added;
  std::vector<std::string> ignored;
};

/// Checks all members of the document but "model", and all members of the model but "vocab" and
/// "merges". Errors as read_tokenizer_file.
Result<TokenizerPipeline> read_tokenizer_pipeline(const JsonMembers& document,
                                                  const JsonMembers& model,
                                                  const std::string& what);

}  // namespace mm2
