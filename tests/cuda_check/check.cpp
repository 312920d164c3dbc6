#include "cuda_check/check.h"

#include <cmath>
#include <cstring>
#include <optional>

#include "cuda_check/referee.h"
#include "kernels/api/format.h"
#include "kernels/api/numbers.h"

namespace check {

using namespace mm2::kernels;

namespace {

struct NamedShape {
  std::string name;
  ModelShape shape;
};

ModelShape shape_of(int32_t n_layers, int32_t hidden, int32_t n_heads, int32_t n_kv_heads,
                    int32_t head_dim, int32_t n_experts, int32_t top_k, int32_t intermediate,
                    int32_t n_vocab) {
  ModelShape s{};
  s.n_layers = n_layers;
  s.hidden = hidden;
  s.n_heads = n_heads;
  s.n_kv_heads = n_kv_heads;
  s.head_dim = head_dim;
  s.rotary_dim = head_dim / 2;
  s.n_experts = n_experts;
  s.top_k = top_k;
  s.intermediate = intermediate;
  s.n_vocab = n_vocab;
  s.rms_norm_eps = 1e-6f;
  s.rope_theta = 5e6;
  return s;
}

// Sizes that fill no block, sizes that do, and those of the family.
std::vector<NamedShape> shapes(bool full) {
  std::vector<NamedShape> all = {{"tails", shape_of(2, 192, 6, 2, 32, 9, 3, 96, 131)},
                                 {"whole", shape_of(1, 256, 12, 2, 128, 8, 4, 128, 192)}};
  if (full) all.push_back({"m2", shape_of(1, 3072, 48, 8, 128, 16, 8, 1536, 1000)});
  return all;
}

struct NamedSetup {
  std::string name;
  int32_t kv_number, activations;
  bool every_format;
};

const std::vector<NamedSetup>& setups() {
  static const std::vector<NamedSetup> all = {{"kv bf16", kBF16, kBF16, true},
                                              {"kv fp8", kE4M3, kBF16, false},
                                              {"kv f32, activations f32", kF32, kF32, false},
                                              {"kv bf16, activations int8", kBF16, kI8, false}};
  return all;
}

bool is_typical(const std::string& format) {
  return format == "bf16" || format == "w4-g128" || format == "fp8-128x128" || format == "nvfp4";
}

std::vector<int32_t> text(Random& random, int32_t n, int32_t n_vocab) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < n; ++i) {
    tokens.push_back(static_cast<int32_t>(random.bits() % static_cast<uint64_t>(n_vocab)));
  }
  return tokens;
}

// A prompt over a block's end, decoding alone and beside others, prompts that meet in a step.
std::vector<std::vector<Part>> schedule(int32_t n_vocab) {
  Random random(77);
  const auto t = [&](int32_t n) { return text(random, n, n_vocab); };
  return {{{0, t(70), 2}},
          {{0, t(1), 1}, {1, t(5), 1}, {2, t(1), 1}},
          {{2, t(1), 1}, {0, t(1), 1}, {1, t(1), 1}},
          {{3, t(1), 1}},
          {{1, t(30), 1}, {2, t(20), 20}}};
}

constexpr int32_t kDecoded = 8;  // tokens of a step that the kernels of decoding run

// ---- comparisons ----------------------------------------------------------------------------------

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// The first of what the observer saw that has other bits, or nothing.
std::optional<std::string> first_difference(const Seen& got, const Seen& want) {
  for (const auto& [key, values] : want.values) {
    const Seen::Values* other = got.find(key.first, key.second);
    const std::string name = key.first + " of layer " + std::to_string(key.second);
    if (other == nullptr) return name + " was not shown";
    if (other->ids != values.ids || !same_bits(other->numbers, values.numbers)) return name;
  }
  if (!same_bits(got.logits, want.logits)) return "logits";
  return std::nullopt;
}

std::vector<int32_t> lengths_of(const Runner& runner) {
  std::vector<int32_t> lengths;
  for (int32_t i = 0; i < kSequences; ++i) lengths.push_back(runner.length(i));
  return lengths;
}

void take_worst(const Verdicts& verdicts, Outcome& outcome) {
  for (const auto& [operation, ratio] : verdicts) {
    if (ratio < outcome.worst) continue;
    outcome.worst = ratio;
    outcome.operation = operation;
  }
  if (outcome.worst <= 1) return;
  outcome.result = "FAIL";
  outcome.detail =
      outcome.operation + " is off by " + std::to_string(outcome.worst) + " of its bound";
}

// A prompt in other pieces, alone: the same bits. The last piece is one for the kernels of decoding.
bool is_invariant(Runner& cut, const std::vector<std::vector<Part>>& steps,
                  const std::vector<Seen>& seen, int32_t n_vocab) {
  const Part& prompt = steps[0][0];
  const auto first = prompt.tokens.begin();
  const auto last = prompt.tokens.end() - kDecoded;
  cut.step({{0, {first, first + 33}, 0}}, false);
  cut.step({{0, {first + 33, last}, 0}}, false);
  const Seen rest = cut.step({{0, {last, prompt.tokens.end()}, prompt.n_outputs}}, false);
  if (!same_bits(rest.logits, seen[0].logits)) return false;
  const Seen next = cut.step({steps[1][0]}, false);
  return std::memcmp(next.logits.data(), seen[1].logits.data(),
                     static_cast<size_t>(n_vocab) * sizeof(float)) == 0;
}

struct Case {
  const Plugin& plugin;
  const HostModel& host;
  const GpuModel& gpu;
  Setup setup;
};

// Runs the schedule on the device, beside the CPU where the bits must be its.
void run_case(const Case& c, Outcome& outcome) {
  GpuRunner device(c.plugin, c.gpu, c.host, c.setup);
  const bool simple = c.setup.kernels == kSimple;
  std::optional<CpuRunner> cpu;
  if (simple) cpu.emplace(c.host, c.setup);
  Licence licence;
  if (!simple) licence.rounding = 2 * kRounding;  // tensor cores cut
  if (simple && c.setup.kv_number == kE4M3) licence.probability = 0x1p-20;
  const bool whole = c.setup.activations == kF32 || c.setup.kv_number == kF32;
  if (simple && whole) licence.probability = 0;
  const Referee referee(c.host, c.setup, licence);
  const auto steps = schedule(c.host.shape.n_vocab);
  std::vector<Seen> all;
  Verdicts verdicts;
  for (size_t i = 0; i < steps.size(); ++i) {
    const std::vector<int32_t> before = lengths_of(device);
    all.push_back(device.step(steps[i]));
    if (cpu) {
      const Seen want = cpu->step(steps[i]);
      if (const auto other = first_difference(all.back(), want)) {
        outcome.result = "FAIL";
        outcome.detail =
            "step " + std::to_string(i) + ": " + *other + " has other bits than the CPU's";
        return;
      }
    }
    if (c.setup.activations != kI8) referee.judge(device, steps[i], before, all.back(), verdicts);
  }
  take_worst(verdicts, outcome);
  GpuRunner cut(c.plugin, c.gpu, c.host, c.setup);
  if (outcome.result == "pass" && !is_invariant(cut, steps, all, c.host.shape.n_vocab)) {
    outcome.result = "FAIL";
    outcome.detail = "other bits where the prompt was cut otherwise";
  }
}

// Runs `body` and makes an outcome of what it throws.
template <typename F>
Outcome judged(const std::string& name, const std::string& kernels, F&& body) {
  Outcome outcome{name, kernels, "pass", 0, "", ""};
  try {
    body(outcome);
  } catch (const DeviceFailure& failure) {
    outcome.result = failure.code == kDeviceUnsupported ? "unsupported" : "FAIL";
    outcome.detail = failure.what();
  }
  return outcome;
}

class Checks {
 public:
  Checks(const Plugin& plugin, const CheckOptions& options, void (*tell)(const Outcome&))
      : plugin_(plugin), options_(options), tell_(tell) {}

  std::vector<Outcome> run() {
    for (const NamedFormat& format : all_formats()) pack(format);
    for (const NamedShape& shape : shapes(options_.full)) {
      if (options_.brief && shape.name != "tails") continue;
      for (const NamedFormat& format : all_formats()) {
        if (!options_.brief || is_typical(format.name)) model(shape, format);
      }
    }
    for (const int32_t number : {kBF16, kE4M3}) {
      if (options_.full && !options_.only_simple) long_prompt(number);
    }
    return std::move(outcomes_);
  }

 private:
  bool is_wanted(const std::string& name) const {
    return options_.only.empty() || name.find(options_.only) != std::string::npos;
  }

  void add(Outcome outcome) {
    tell_(outcome);
    outcomes_.push_back(std::move(outcome));
  }

  void pack(const NamedFormat& format) {
    const std::string name = "pack " + format.name;
    if (!is_wanted(name)) return;
    add(judged(name, "-", [&](Outcome& outcome) {
      Random random(3);
      for (const auto& [n_out, n_in] :
           {std::pair{64, 128}, std::pair{131, 192}, std::pair{320, 384}}) {
        const HostMatrix matrix(random, n_out, n_in, format.format, 1.0f);
        if (packs_alike(plugin_, matrix)) continue;
        outcome.result = "FAIL";
        outcome.detail = "packing [" + std::to_string(n_out) + ", " + std::to_string(n_in) +
                         "] in pieces on the device gives other bytes than at once on the host";
      }
    }));
  }

  void model(const NamedShape& shape, const NamedFormat& format) {
    const std::string name = shape.name + " " + format.name;
    bool any = false;
    for (const NamedSetup& setup : setups()) any |= is_wanted(name + ", " + setup.name);
    if (!any) return;
    const HostModel host(1, shape.shape, format.format);
    std::optional<GpuModel> gpu;
    const Outcome made = judged(name, "-", [&](Outcome&) { gpu.emplace(host, plugin_); });
    if (!gpu) {
      add(made);
      return;
    }
    for (const NamedSetup& setup : setups()) {
      if (!is_wanted(name + ", " + setup.name)) continue;
      if (!setup.every_format && !is_typical(format.name)) continue;
      for (const int32_t kernels : {kSimple, kFast, kResident}) {
        if (kernels == kSimple ? options_.only_fast : options_.only_simple) continue;
        if (kernels == kResident && (options_.only_fast || setup.activations != kBF16)) continue;
        Setup made_of;
        made_of.kv_number = setup.kv_number;
        made_of.activations = setup.activations;
        made_of.kernels = kernels;
        constexpr const char* kNames[] = {"fast", "simple", "resident"};  // by DeviceKernels
        add(judged(name + ", " + setup.name, kNames[kernels], [&](Outcome& outcome) {
          run_case({plugin_, host, *gpu, made_of}, outcome);
        }));
      }
    }
  }

  // Pieces of a prompt over the ends of chunks (512 positions) and of a super (8,192) of attention, each at once
  // and with its last tokens through the kernels of decoding.
  void long_prompt(int32_t kv_number) {
    const std::string name = kv_number == kE4M3 ? "long prompt, kv fp8" : "long prompt, kv bf16";
    if (!is_wanted(name)) return;
    add(judged(name, "fast", [&](Outcome& outcome) {
      const HostModel host(2, shape_of(1, 256, 12, 2, 128, 8, 4, 128, 192), plain(kBF16));
      const GpuModel gpu(host, plugin_);
      Setup setup;
      setup.kv_number = kv_number;
      setup.kernels = kFast;
      setup.max_tokens = 1024;
      setup.blocks_per_sequence = 132;
      GpuRunner at_once(plugin_, gpu, host, setup), cut(plugin_, gpu, host, setup);
      Random random(5);
      for (const int32_t n : {700, 1024, 1024, 1024, 1024, 1024, 1024, 1024, 446}) {
        const std::vector<int32_t> tokens = text(random, n, host.shape.n_vocab);
        const Seen whole = at_once.step({{0, tokens, kDecoded}}, false);
        cut.step({{0, {tokens.begin(), tokens.end() - kDecoded}, 0}}, false);
        const Seen last = cut.step({{0, {tokens.end() - kDecoded, tokens.end()}, kDecoded}}, false);
        if (same_bits(whole.logits, last.logits)) continue;
        outcome.result = "FAIL";
        outcome.detail = "the last tokens before position " + std::to_string(cut.length(0)) +
                         " have other bits where they are decoded";
        return;
      }
    }));
  }

  const Plugin& plugin_;
  const CheckOptions& options_;
  void (*tell_)(const Outcome&);
  std::vector<Outcome> outcomes_;
};

}  // namespace

std::vector<Outcome> run_checks(const Plugin& plugin, const CheckOptions& options,
                                void (*tell)(const Outcome&)) {
  return Checks(plugin, options, tell).run();
}

}  // namespace check
