#include "options.h"

#include <map>

namespace server {
namespace {

using Names = std::map<std::string, int32_t>;

// The names of vLLM and SGLang for the same things stand beside our own.
const Names kReasoningParsers = {{"minimax_m2", MM2_PARSER_MINIMAX_M2},
                                 {"minimax-m2", MM2_PARSER_MINIMAX_M2},
                                 {"minimax", MM2_PARSER_MINIMAX_M2},
                                 {"minimax_m2_append_think", MM2_PARSER_MINIMAX_M2_APPEND_THINK},
                                 {"minimax-append-think", MM2_PARSER_MINIMAX_M2_APPEND_THINK},
                                 {"minimax_m2_optthink", MM2_PARSER_MINIMAX_M2_OPTTHINK}};
const Names kKvDtypes = {{"auto", MM2_KV_AUTO},     {"f32", MM2_KV_F32}, {"bf16", MM2_KV_BF16},
                         {"bfloat16", MM2_KV_BF16}, {"fp8", MM2_KV_FP8}, {"fp8_e4m3", MM2_KV_FP8}};
const Names kKvScales = {{"checkpoint", MM2_KV_SCALES_CHECKPOINT}, {"one", MM2_KV_SCALES_ONE}};
const Names kActivations = {{"auto", MM2_ACTIVATIONS_AUTO},
                            {"bf16", MM2_ACTIVATIONS_BF16},
                            {"f32", MM2_ACTIVATIONS_F32},
                            {"int8", MM2_ACTIVATIONS_INT8}};
const Names kIsas = {{"auto", MM2_ISA_AUTO},
                     {"generic", MM2_ISA_GENERIC},
                     {"avx2", MM2_ISA_AVX2},
                     {"avx512", MM2_ISA_AVX512},
                     {"reference", MM2_ISA_REFERENCE}};

void add_choice(CLI::App& app, const std::string& option, int32_t& value, const Names& names,
                const std::string& help) {
  std::string list;
  for (const auto& [name, number] : names) list += (list.empty() ? "" : ", ") + name;
  const auto parse = [&value, option, names, list](const std::string& text) {
    const auto found = names.find(text);
    if (found == names.end()) {
      throw CLI::ValidationError(option, "'" + text + "' is none of " + list);
    }
    value = found->second;
  };
  app.add_option_function<std::string>(option, parse, help + ": " + list)->type_name("NAME");
}

/// --device cpu, cuda (the first one) or cuda:N.
void add_device(CLI::App& app, ServeOptions& o) {
  const auto parse = [&o](const std::string& text) {
    const bool is_cuda = text == "cuda" || text.rfind("cuda:", 0) == 0;
    const std::string index = text.size() > 5 && is_cuda ? text.substr(5) : "";
    const bool has_index = !index.empty() && index.size() <= 4 &&
                           index.find_first_not_of("0123456789") == std::string::npos;
    if (text != "cpu" && text != "cuda" && !(is_cuda && has_index)) {
      throw CLI::ValidationError("--device", "'" + text + "' is none of cpu, cuda, cuda:N");
    }
    o.device = is_cuda ? MM2_DEVICE_CUDA : MM2_DEVICE_CPU;
    o.device_index = has_index ? std::stoi(index) : 0;
  };
  app.add_option_function<std::string>("--device", parse, "where the model runs: cpu, cuda, cuda:N")
      ->type_name("NAME");
  app.add_option("--device-plugin", o.device_plugin,
                 "file of the CUDA plug-in; libmm2_cuda.so beside the library unless said")
      ->type_name("FILE");
}

/// Options of other servers that change nothing here: scripts that name them keep working.
void add_compatible(CLI::App& app) {
  // Tool calls are always understood; code in a checkpoint is never run.
  app.add_flag_callback("--enable-auto-tool-choice", [] {})->group("");
  app.add_flag_callback("--trust-remote-code", [] {})->group("");
  for (const char* option : {"--tensor-parallel-size,--tp", "--expert-parallel-size,--ep"}) {
    const std::string name = option;
    app.add_option_function<int>(
           name,
           [name](const int& ranks) {
             if (ranks != 1) {
               throw CLI::ValidationError(name, "this version runs on one rank; " +
                                                    std::to_string(ranks) + " were asked for");
             }
           },
           "one rank")
        ->group("");
  }
}

void add_network(CLI::App& app, ServeOptions& o) {
  const std::string group = "Network";
  app.add_option("--host", o.host, "address to listen on; 0.0.0.0 = all")
      ->capture_default_str()
      ->group(group);
  app.add_option("--port", o.port, "0 finds a free one and prints it")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str()
      ->group(group);
  app.add_option("--api-key", o.api_keys, "clients must show one of these")->group(group);
  app.add_option("--allowed-origins", o.allowed_origins,
                 "web pages of other servers that may call this one; * = all")
      ->group(group);
  app.add_option("--max-connections", o.max_connections, "open at once")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str()
      ->group(group);
  app.add_option("--slow-reader-seconds", o.slow_reader_seconds,
                 "a client that reads nothing for so long loses its answer")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str()
      ->group(group);
  app.add_option("--drain-seconds", o.drain_seconds, "for answers to end after SIGTERM")
      ->check(CLI::Range(0, 86400))
      ->capture_default_str()
      ->group(group);
}

void add_scheduling(CLI::App& app, ServeOptions& o) {
  const std::string group = "Scheduling";
  app.add_option("--max-model-len", o.max_model_len, "tokens of a prompt and its answer")
      ->check(CLI::PositiveNumber)
      ->group(group);
  app.add_option("--max-num-seqs,--max-seqs", o.max_num_seqs, "answers written at once")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str()
      ->group(group);
  app.add_option("--max-tokens-per-step,--max-num-batched-tokens", o.max_tokens_per_step,
                 "tokens of one engine step")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(group);
  app.add_option("--max-waiting", o.max_waiting, "answers in the queue; more get 503")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str()
      ->group(group);
  app.add_option("--kv-tokens", o.kv_tokens, "tokens that the key/value pool holds")
      ->check(CLI::PositiveNumber)
      ->group(group);
  app.add_flag("--enable-prefix-caching,!--no-enable-prefix-caching", o.prefix_cache,
               "prompts that begin alike are computed once (on)")
      ->group(group);
  app.add_flag("--enable-chunked-prefill,!--no-enable-chunked-prefill", o.chunked_prefill,
               "long prompts run in pieces beside running answers (on)")
      ->group(group);
}

}  // namespace

void add_serve_options(CLI::App& app, ServeOptions& o) {
  add_network(app, o);
  app.add_option("--served-model-name", o.served_names, "names that requests may use");
  app.add_option("--chat-template", o.chat_template, "a Jinja file instead of the checkpoint's")
      ->check(CLI::ExistingFile);
  add_choice(app, "--reasoning-parser", o.parser_mode, kReasoningParsers, "where reasoning goes");
  app.add_option_function<std::string>(
         "--tool-call-parser",
         [](const std::string& name) {
           if (name != "minimax_m2" && name != "minimax-m2") {
             throw CLI::ValidationError("--tool-call-parser", "'" + name + "' is not minimax_m2");
           }
         },
         "how tool calls are written: minimax_m2")
      ->type_name("NAME");
  app.add_flag("--ignore-unknown-fields", o.ignore_unknown,
               "members of requests that nobody knows are no error");
  add_scheduling(app, o);
  app.add_option("--threads", o.threads, "of the engine; 0 = every usable core")
      ->check(CLI::NonNegativeNumber);
  add_choice(app, "--kv-cache-dtype,--kv-dtype", o.kv_dtype, kKvDtypes, "cached keys and values");
  add_choice(app, "--kv-scales", o.kv_scales, kKvScales, "scales of --kv-cache-dtype fp8");
  add_choice(app, "--activations", o.activations, kActivations, "how activations enter a product");
  add_device(app, o);
  add_choice(app, "--isa", o.isa, kIsas, "instruction set");
  add_compatible(app);
}

}  // namespace server
