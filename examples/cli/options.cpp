#include "options.h"

#include <map>

#include "handles.h"

namespace cli {
namespace {

using Names = std::map<std::string, int32_t>;

const Names kKvDtypes = {
    {"auto", MM2_KV_AUTO}, {"f32", MM2_KV_F32}, {"bf16", MM2_KV_BF16}, {"fp8", MM2_KV_FP8}};
const Names kKvScales = {{"checkpoint", MM2_KV_SCALES_CHECKPOINT}, {"one", MM2_KV_SCALES_ONE}};
const Names kActivations = {{"auto", MM2_ACTIVATIONS_AUTO},
                            {"bf16", MM2_ACTIVATIONS_BF16},
                            {"f32", MM2_ACTIVATIONS_F32},
                            {"int8", MM2_ACTIVATIONS_INT8}};
const Names kDeviceKernels = {{"fast", MM2_DEVICE_KERNELS_FAST},
                              {"simple", MM2_DEVICE_KERNELS_SIMPLE}};
const Names kIsas = {{"auto", MM2_ISA_AUTO},           {"generic", MM2_ISA_GENERIC},
                     {"avx2", MM2_ISA_AVX2},           {"avx512", MM2_ISA_AVX512},
                     {"reference", MM2_ISA_REFERENCE}, {"reference-f64", MM2_ISA_REFERENCE_F64}};

std::string join_names(const Names& names) {
  std::string joined;
  for (const auto& [name, value] : names) joined += (joined.empty() ? "" : ", ") + name;
  return joined;
}

/// An option whose value is one of a few names.
void add_choice(CLI::App* verb, const std::string& option, int32_t& value, const Names& names,
                const std::string& help) {
  const auto parse = [&value, option, names](const std::string& text) {
    const auto found = names.find(text);
    if (found == names.end()) {
      throw CLI::ValidationError(option, "'" + text + "' is none of " + join_names(names));
    }
    value = found->second;
  };
  verb->add_option_function<std::string>(option, parse, help + ": " + join_names(names))
      ->type_name("NAME");
}

/// --device cpu, cuda (the first one) or cuda:N.
void add_device(CLI::App* verb, EngineFlags& flags) {
  const auto parse = [&flags](const std::string& text) {
    const bool is_cuda = text == "cuda" || text.rfind("cuda:", 0) == 0;
    const std::string index = text.size() > 5 && is_cuda ? text.substr(5) : "";
    const bool has_index = !index.empty() && index.size() <= 4 &&
                           index.find_first_not_of("0123456789") == std::string::npos;
    if (text != "cpu" && text != "cuda" && !(is_cuda && has_index)) {
      throw CLI::ValidationError("--device", "'" + text + "' is none of cpu, cuda, cuda:N");
    }
    flags.device = is_cuda ? MM2_DEVICE_CUDA : MM2_DEVICE_CPU;
    flags.device_index = has_index ? std::stoi(index) : 0;
  };
  verb->add_option_function<std::string>(
          "--device", parse, "where the model runs: cpu, cuda, cuda:N (mm2 doctor lists them)")
      ->type_name("NAME");
  verb->add_option("--device-plugin", flags.device_plugin,
                   "file of the CUDA plug-in; libmm2_cuda.so beside the library unless said")
      ->type_name("FILE");
  add_choice(verb, "--device-kernels", flags.device_kernels, kDeviceKernels,
             "kernels on a device; simple gives the bits of the CPU");
}

}  // namespace

void add_progress(CLI::App* verb, ProgressStyle& style) {
  const auto parse = [&style](const std::string& text) {
    if (text == "tty") {
      style = ProgressStyle::tty;
    } else if (text == "json") {
      style = ProgressStyle::json;
    } else if (text == "none") {
      style = ProgressStyle::none;
    } else {
      throw CLI::ValidationError("--progress", "'" + text + "' is none of tty, json, none");
    }
  };
  verb->add_option_function<std::string>("--progress", parse,
                                         "progress on standard error: tty, json, none")
      ->type_name("NAME");
}

void add_model(CLI::App* verb, std::string& model) {
  verb->add_option("model", model, "checkpoint folder, or a repo id in the local hub cache")
      ->required()
      ->type_name("MODEL");
}

void EngineFlags::add_to(CLI::App* verb) {
  const std::string group = "Engine";
  verb->add_option("--threads", threads, "worker threads; every usable core unless said")
      ->check(CLI::Range(1, 4096))
      ->group(group);
  verb->add_option("--kv-tokens", kv_tokens, "tokens that the key/value pool holds")
      ->check(CLI::PositiveNumber)
      ->group(group);
  verb->add_option("--max-seqs", max_seqs, "sequences held at once")
      ->check(CLI::PositiveNumber)
      ->group(group);
  verb->add_option("--max-tokens-per-step", max_tokens_per_step, "tokens of one engine step")
      ->check(CLI::PositiveNumber)
      ->group(group);
  add_choice(verb, "--kv-dtype", kv_dtype, kKvDtypes, "type of cached keys and values");
  add_choice(verb, "--kv-scales", kv_scales, kKvScales, "scales of --kv-dtype fp8");
  add_choice(verb, "--activations", activations, kActivations, "how activations enter a product");
  add_device(verb, *this);
  add_choice(verb, "--isa", isa, kIsas, "instruction set");
  add_progress(verb, progress);
  for (const char* option : {"--kv-dtype", "--kv-scales", "--activations", "--device",
                             "--device-plugin", "--device-kernels", "--isa", "--progress"}) {
    verb->get_option(option)->group(group);
  }
}

void SamplingFlags::add_to(CLI::App* verb) {
  const std::string group = "Sampling";
  verb->add_option("--temperature", temperature, "0 picks the most likely token")->group(group);
  verb->add_option("--top-p", top_p, "share of probability to draw from")->group(group);
  verb->add_option("--top-k", top_k, "number of tokens to draw from; 0 = all")->group(group);
  verb->add_option("--min-p", min_p, "least likelihood relative to the likeliest")->group(group);
  verb->add_option("--seed", seed, "same seed, same answer; 0 unless said")->group(group);
  verb->add_flag("--greedy", greedy, "the same as --temperature 0")->group(group);
}

mm2_sampler_options SamplingFlags::resolve(const mm2_model* model,
                                           const mm2_tokenizer* tokenizer) const {
  mm2_sampler_options options;
  mm2_sampler_options_init(&options, sizeof options);
  options.temperature = 1;
  call("reading the model's sampling defaults", mm2_sampler_options_from_model, model, &options);
  if (temperature) options.temperature = *temperature;
  if (top_p) options.top_p = *top_p;
  if (top_k) options.top_k = *top_k;
  if (min_p) options.min_p = *min_p;
  if (greedy) options.temperature = 0;
  options.seed = seed.value_or(0);
  if (tokenizer != nullptr) {
    call("reading the tokenizer's size", mm2_tokenizer_n_tokens, tokenizer, &options.n_tokens);
  }
  return options;
}

}  // namespace cli
