// mm2_cuda_check: are the kernels of a device plug-in right, and how fast are they. One program that is
// carried to a machine with a device together with the plug-in; it needs nothing else.
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include <unistd.h>
#include <nlohmann/json.hpp>

#include "cuda_check/bench.h"
#include "cuda_check/check.h"

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kUsage =
    "mm2_cuda_check [--plugin FILE] [--device N] [--json FILE] [--only TEXT]\n"
    "               [--full|--short] [--simple|--fast]\n"
    "               [--bench [--layers N] [--experts N] [--quant w4|fp8|nvfp4|bf16]\n"
    "                [--tiny]]\n"
    "\n"
    "Without --bench: every format, cache and tail against the CPU's kernels (their bits, for\n"
    "the simple kernels) and against FP64 within an error bound (both kinds). --full adds the\n"
    "shapes of the family, --short leaves most out.\n"
    "With --bench: read ceiling, decode, batches, prefill, on synthetic weights of the true\n"
    "shape; --tiny tries the benchmark itself on a small model. FILE is libmm2_cuda.so beside this "
    "program unless said.\n"
    "Exit code: 0 all right, 1 something is wrong, 2 no plug-in or no device, 64 wrong\n"
    "arguments.\n";

enum ExitCode { kRight = 0, kWrong = 1, kNothing = 2, kUsageError = 64 };

struct Arguments {
  std::string plugin, json;
  int32_t device = 0;
  bool bench = false;
  check::CheckOptions check;
  check::BenchOptions speed;
};

std::string beside_this_program() {
  char path[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  std::string own(path, n < 0 ? 0 : static_cast<size_t>(n));
  return own.substr(0, own.rfind('/') + 1) + "libmm2_cuda.so";
}

bool parse(int argc, char** argv, Arguments& to) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const auto flag = [&](const char* wanted, bool& value) {
      if (name != wanted) return false;
      return value = true;
    };
    if (flag("--bench", to.bench) || flag("--full", to.check.full) ||
        flag("--simple", to.check.only_simple) || flag("--fast", to.check.only_fast) ||
        flag("--short", to.check.brief) || flag("--tiny", to.speed.tiny)) {
      continue;
    }
    if (i + 1 == argc) return false;
    const std::string value = argv[++i];
    if (name == "--plugin")
      to.plugin = value;
    else if (name == "--json")
      to.json = value;
    else if (name == "--only")
      to.check.only = value;
    else if (name == "--quant")
      to.speed.quant = value;
    else if (name == "--device")
      to.device = std::atoi(value.c_str());
    else if (name == "--layers")
      to.speed.n_layers = std::atoi(value.c_str());
    else if (name == "--experts")
      to.speed.n_experts = std::atoi(value.c_str());
    else
      return false;
  }
  to.speed.brief = to.check.brief;
  if (to.plugin.empty()) to.plugin = beside_this_program();
  return true;
}

void tell(const check::Outcome& o) {
  std::printf("%-44s %-8s %-12s", o.name.c_str(), o.kernels.c_str(), o.result.c_str());
  if (o.kernels != "-" && o.result != "unsupported") {
    std::printf(" %6.3f of its bound in %s", o.worst, o.operation.c_str());
  }
  if (!o.detail.empty()) std::printf(" %s", o.detail.c_str());
  std::printf("\n");
  std::fflush(stdout);
}

Json device_json(const check::Plugin& plugin) {
  const auto& d = plugin.info();
  return {{"name", d.name},
          {"compute_capability", std::to_string(d.major) + "." + std::to_string(d.minor)},
          {"multiprocessors", d.n_multiprocessors},
          {"memory", d.memory_bytes},
          {"driver", d.driver_version},
          {"runtime", d.runtime_version}};
}

int run_all_checks(const check::Plugin& plugin, const Arguments& arguments, Json& report) {
  const auto outcomes = check::run_checks(plugin, arguments.check, tell);
  int n_wrong = 0, n_unsupported = 0;
  for (const check::Outcome& o : outcomes) {
    n_wrong += o.result == "FAIL";
    n_unsupported += o.result == "unsupported";
    report["checks"].push_back(
        {{"name", o.name},
         {"kernels", o.kernels},
         {"result", o.result},
         {"worst", std::isfinite(o.worst) ? Json(o.worst) : Json("infinite")},
         {"operation", o.operation},
         {"detail", o.detail}});
  }
  std::printf("%zu checks: %d wrong, %d not supported\n", outcomes.size(), n_wrong, n_unsupported);
  report["wrong"] = n_wrong;
  report["unsupported"] = n_unsupported;
  return n_wrong == 0 && !outcomes.empty() ? kRight : kWrong;
}

int run(const Arguments& arguments, Json& report) {
  try {
    const check::Plugin plugin(arguments.plugin, arguments.device);
    report["device"] = device_json(plugin);
    std::printf("%s, plug-in %s\n", plugin.info().name, arguments.plugin.c_str());
    if (!arguments.bench) return run_all_checks(plugin, arguments, report);
    report["bench"] = check::run_bench(plugin, arguments.speed);
    return kRight;
  } catch (const check::NoDevice& none) {
    std::printf("%s\n", none.what());
    report["none"] = none.what();
    return kNothing;
  } catch (const std::exception& failure) {
    std::printf("failed: %s\n", failure.what());
    report["failed"] = failure.what();
    return kWrong;
  }
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!parse(argc, argv, arguments)) {
    std::fputs(kUsage, stderr);
    return kUsageError;
  }
  Json report = {{"plugin", arguments.plugin}};
  const int code = run(arguments, report);
  if (!arguments.json.empty()) std::ofstream(arguments.json) << report.dump(1) << "\n";
  return code;
}
