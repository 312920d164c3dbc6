#include "tools/subject.h"

namespace mm2 {
namespace {

bool is_index(const std::string& path) {
  return path.ends_with(".index.json");
}

Status read_config(const std::string& path, const Host& host, Subject& subject) {
  MM2_ASSIGN_OR_RETURN(ModelConfig config, load_config(path, host));
  if (path.ends_with(".json")) {
    MM2_ASSIGN_OR_RETURN(subject.quant, parse_quant_config(config.quantization, path));
  } else {
    MM2_ASSIGN_OR_RETURN(subject.quant, load_quant_config(config.quantization, path, host));
  }
  for (const std::string& remark : subject.quant.remarks) subject.remarks.push_back(remark);
  subject.config = std::move(config);
  return {};
}

Status read_tensors(const std::string& path, const Host& host, Subject& subject) {
  MM2_ASSIGN_OR_RETURN(subject.checkpoint, Checkpoint::open(path, host));
  return {};
}

}  // namespace

OpenedSubject open_subject(const std::string& model, const Host& host) {
  OpenedSubject opened;
  Subject& subject = opened.subject;
  Host listening = host;
  // Reports of opening shards have another unit than those of the tools.
  listening.progress = nullptr;
  listening.log =
      Log(LogLevel::trace, [&](LogLevel level, std::string_view component, std::string_view text) {
        if (level <= LogLevel::warning) subject.remarks.emplace_back(text);
        host.log.write(level, component, text);
      });
  const bool tensors_only = model.ends_with(".safetensors");
  const bool config_only = model.ends_with(".json") && !is_index(model);
  subject.kind = tensors_only ? "safetensors" : config_only ? "config" : "checkpoint";
  if (!tensors_only) {
    const size_t slash = model.find_last_of('/');
    const std::string folder = !is_index(model)      ? model
                               : slash == model.npos ? "config.json"
                                                     : model.substr(0, slash);
    opened.status = read_config(folder, listening, subject);
    if (!opened.status.ok()) opened.failed_at = "config";
  }
  if (opened.status.ok() && !config_only) {
    opened.status = read_tensors(model, listening, subject);
    if (!opened.status.ok()) opened.failed_at = "tensors";
  }
  return opened;
}

Json config_report(const ModelConfig& c) {
  Json report = {{"model_type", c.model_type},
                 {"n_layers", c.n_layers},
                 {"hidden", c.hidden},
                 {"n_heads", c.n_heads},
                 {"n_kv_heads", c.n_kv_heads},
                 {"head_dim", c.head_dim},
                 {"rotary_dim", c.rotary_dim},
                 {"rope_theta", c.rope_theta},
                 {"n_experts", c.n_experts},
                 {"top_k", c.top_k},
                 {"intermediate", c.intermediate},
                 {"n_vocab", c.n_vocab},
                 {"max_positions", c.max_positions},
                 {"rms_norm_eps", c.rms_norm_eps},
                 {"tie_word_embeddings", c.tie_word_embeddings},
                 {"n_mtp_modules", c.n_mtp_modules}};
  if (!c.torch_dtype.empty()) report["torch_dtype"] = c.torch_dtype;
  return report;
}

Json quant_report(const QuantConfig& quant) {
  if (quant.method.empty()) return nullptr;
  Json report = {{"quant_method", quant.method}};
  if (quant.words.bits != 0) report["bits"] = quant.words.bits;
  if (quant.words.group_size != 0) report["group_size"] = quant.words.group_size;
  if (!quant.checkpoint_format.empty()) report["checkpoint_format"] = quant.checkpoint_format;
  if (!quant.algorithm.empty()) report["quant_algo"] = quant.algorithm;
  if (quant.words.block_rows != 0) {
    report["weight_block_size"] = {quant.words.block_rows, quant.words.block_cols};
  }
  return report;
}

}  // namespace mm2
