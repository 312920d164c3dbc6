// The ids that end a generation, from the files beside tokenizer.json.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/host.h"
#include "base/status.h"

namespace mm2 {

using FindToken = std::function<std::optional<int32_t>(std::string_view)>;

/// eos_token_id of <folder>/generation_config.json (a number or a list) and eos_token of
/// <folder>/tokenizer_config.json (a string, or an object with "content"), in this order, perhaps
/// twice the same. Missing files, missing fields and null say nothing; a token that `find` does not
/// know is an error, an id without a token is not.
Result<std::vector<int32_t>> read_stop_ids(const std::string& folder, const Source& source,
                                           const FindToken& find);

}  // namespace mm2
