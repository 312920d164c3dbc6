// What `mm2 serve` and `openai_server` take on the command line: one list for both.
#pragma once

#include <mm2/mm2.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace server {

struct ServeOptions {
  std::string model;
  std::vector<std::string> served_names;  // the first one is told; any is taken. Default: folder
  std::string host = "127.0.0.1";
  int port = 8000;
  std::vector<std::string> api_keys;
  std::vector<std::string> allowed_origins;  // of web pages; "*" = any
  std::string chat_template;                 // empty: the checkpoint's own

  int32_t parser_mode = MM2_PARSER_MINIMAX_M2;
  bool ignore_unknown = false;

  int32_t max_model_len = 0;
  int32_t max_num_seqs = 16;
  int32_t max_tokens_per_step = 512;
  int32_t max_waiting = 256;
  int64_t kv_tokens = 0;
  bool prefix_cache = true;
  bool chunked_prefill = true;
  int32_t slow_reader_seconds = 30;
  int32_t max_connections = 512;
  int32_t drain_seconds = 30;

  int32_t threads = 0;
  int32_t kv_dtype = MM2_KV_AUTO;
  int32_t kv_scales = MM2_KV_SCALES_CHECKPOINT;
  int32_t activations = MM2_ACTIVATIONS_AUTO;
  int32_t device = MM2_DEVICE_CPU;
  int32_t device_index = 0;
  std::string device_plugin;  // empty: where the library looks
  int32_t isa = MM2_ISA_AUTO;
};

/// Everything but the model.
void add_serve_options(CLI::App& app, ServeOptions& options);

}  // namespace server
