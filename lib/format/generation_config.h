// generation_config.json: what the vendor samples with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/host.h"
#include "base/status.h"

namespace mm2 {

/// Absent fields stay empty.
struct GenerationConfig {
  std::optional<bool> do_sample;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<int32_t> top_k;
  std::optional<double> repetition_penalty;
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;  // the file may hold one id or a list
};

/// Code::format when a field has the wrong type or is out of its range.
Result<GenerationConfig> parse_generation_config(std::string_view text, const std::string& what);

/// The file of a checkpoint folder; all fields empty when there is no such file.
Result<GenerationConfig> load_generation_config(const std::string& folder, const Host& host);

}  // namespace mm2
