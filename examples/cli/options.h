// Options that several verbs share.
#pragma once

#include <mm2/mm2.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

namespace cli {

enum class ProgressStyle { automatic, tty, json, none };

/// How a model is loaded and an engine is made. 0 and "auto" leave the choice to the library.
struct EngineFlags {
  int32_t threads = 0;
  int32_t max_seqs = 0;
  int32_t max_tokens_per_step = 0;
  int64_t kv_tokens = 0;
  int32_t kv_dtype = MM2_KV_AUTO;
  int32_t kv_scales = MM2_KV_SCALES_CHECKPOINT;
  int32_t activations = MM2_ACTIVATIONS_AUTO;
  int32_t device = MM2_DEVICE_CPU;
  int32_t device_index = 0;
  int32_t device_kernels = MM2_DEVICE_KERNELS_FAST;
  std::string device_plugin;  // empty: where the library looks
  int32_t isa = MM2_ISA_AUTO;
  ProgressStyle progress = ProgressStyle::automatic;

  void add_to(CLI::App* verb);
};

/// How tokens are picked. What is not said comes from the checkpoint's generation_config.json.
struct SamplingFlags {
  std::optional<float> temperature, top_p, min_p;
  std::optional<int32_t> top_k;
  std::optional<uint64_t> seed;
  bool greedy = false;

  void add_to(CLI::App* verb);
  /// The model's defaults with what was said put over them. The seed is 0 unless it was said.
  /// Ids that the tokenizer (may be null) has no name for are never picked.
  mm2_sampler_options resolve(const mm2_model* model, const mm2_tokenizer* tokenizer) const;
};

void add_model(CLI::App* verb, std::string& model);
void add_progress(CLI::App* verb, ProgressStyle& style);

}  // namespace cli
