// What inspect and verify look at: a whole checkpoint, one tensor file, or a configuration alone.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/host.h"
#include "base/json.h"
#include "format/checkpoint.h"
#include "format/config.h"
#include "quant/quant_config.h"

namespace mm2 {

struct Subject {
  std::string kind;  // "checkpoint", "safetensors" or "config"
  std::optional<ModelConfig> config;
  QuantConfig quant;
  std::shared_ptr<Checkpoint> checkpoint;  // null for "config"
  std::vector<std::string> remarks;        // warnings that opening it gave
};

/// How far opening came: the parts before the failure are filled.
struct OpenedSubject {
  Subject subject;
  Status status;
  std::string failed_at;  // "config", "tensors"; empty when all went well
};

/// A path that ends in .safetensors is a file of tensors without configuration; one that ends in
/// config.json is a configuration; else a checkpoint.
OpenedSubject open_subject(const std::string& model, const Host& host);

Json config_report(const ModelConfig& config);
Json quant_report(const QuantConfig& quant);

}  // namespace mm2
