// mm2 version, mm2 doctor: what this program is, and what this machine offers it.
#include <cstdio>

#include "json_io.h"
#include "model_path.h"
#include "probe.h"
#include "program.h"
#include "progress.h"
#include "tool_verb.h"

namespace cli {
namespace {

struct AboutOptions {
  bool json = false;
};

Json library_json(const std::string& doing, mm2_status (*describe)(mm2_buffer*, mm2_error*)) {
  Buffer buffer;
  call(doing, describe, buffer.get());
  return parse_json(buffer.text(), doing);
}

/// A JSON value in a line for a person: lists without brackets, no quotes.
std::string plain(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return to_text(value);
  std::string joined;
  for (const Json& element : value) joined += (joined.empty() ? "" : " ") + plain(element);
  return joined;
}

ExitCode run_version(const AboutOptions& options) {
  const Json build = library_json("reading build information", mm2_build_info);
  if (options.json) {
    print_json(build);
    return kOk;
  }
  std::printf("mm2 %s (ABI %u)\n", mm2_version_string(), mm2_abi_version());
  for (const auto& [key, value] : build.items()) {
    if (key == "version" || key == "abi") continue;
    if (!value.is_object()) {
      std::printf("  %-14s %s\n", key.c_str(), plain(value).c_str());
      continue;
    }
    for (const auto& [name, inner] : value.items()) {
      std::printf("  %-14s %s\n", name.c_str(), plain(inner).c_str());
    }
  }
  if (mm2_abi_version() != MM2_ABI_VERSION) {
    throw Failure(kCheckFailed, "comparing ABI versions",
                  "the library has " + std::to_string(mm2_abi_version()) +
                      ", this program was built for " + std::to_string(MM2_ABI_VERSION));
  }
  return kOk;
}

void print_machine(const Json& system) {
  const Json cpu = system.value("cpu", Json::object());
  const Json memory = system.value("memory", Json::object());
  const Json cuda = system.value("cuda", Json::object());
  std::printf("processor        %s, %s cores\n", plain(cpu.value("name", Json("unknown"))).c_str(),
              plain(cpu.value("cores", Json("?"))).c_str());
  std::printf("features         %s\n", plain(cpu.value("features", Json::array())).c_str());
  std::printf("instruction set  %s\n", plain(system.value("isa", Json("unknown"))).c_str());
  std::printf("memory           %s, %s available\n",
              human_bytes(memory.value("total", 0.0)).c_str(),
              human_bytes(memory.value("available", 0.0)).c_str());
  const Json probe = system.value("probe", Json::object());
  std::printf("read bandwidth   %.1f GB/s with %d threads\n", probe.value("read_gb_per_s", 0.0),
              probe.value("threads", 0));
  std::printf("peak arithmetic  %.0f GFLOP/s, products of F32 or BF16\n",
              probe.value("peak_gflop_per_s", 0.0));
  std::printf("CUDA             %s: %s\n",
              cuda.value("available", false) ? "available" : "not used",
              plain(cuda.value("detail", Json("no plug-in"))).c_str());
  for (const Json& device : cuda.value("devices", Json::array())) {
    std::printf("  cuda:%-9s %s, compute capability %s, %s multiprocessors, %s, %s free\n",
                plain(device.value("index", Json(0))).c_str(),
                plain(device.value("name", Json("unknown"))).c_str(),
                plain(device.value("compute_capability", Json("?"))).c_str(),
                plain(device.value("multiprocessors", Json("?"))).c_str(),
                human_bytes(device.value("memory", 0.0)).c_str(),
                human_bytes(device.value("free", 0.0)).c_str());
  }
}

ExitCode examine_machine(bool json) {
  Json system = library_json("examining this machine", mm2_system_info);
  MachineProbe probe(0);
  probe.measure_read();
  probe.measure_arithmetic();
  system["probe"] = {{"read_gb_per_s", probe.read_gb_per_s()},
                     {"peak_gflop_per_s", probe.peak_gflop_per_s()},
                     {"threads", probe.n_threads()}};
  if (json) {
    print_json(system);
  } else {
    print_machine(system);
  }
  return kOk;
}

}  // namespace

void add_version(Program& program) {
  const auto options = std::make_shared<AboutOptions>();
  CLI::App* verb = program.add_verb("version", "Version, ABI, commit, compiler", "mm2 version");
  verb->add_flag("--json", options->json, "one JSON object");
  program.on_run(verb, [options] { return run_version(*options); });
}

void add_doctor(Program& program) {
  ToolVerb(program, "doctor",
           "What this machine offers; with MODEL: what is wrong with a checkpoint",
           "mm2 doctor MODEL --engine vllm --tp 8")
      .model("model", false)
      .text("--engine", "engine", "vllm, sglang or mm2: their rules too")
      .integer("--tp", "tp", "tensor parallel ranks that it is to be served on")
      .integer("--ep", "ep", "expert parallel ranks")
      .flag("--deep", "deep", "read every value: NaN, infinity")
      .flag("--fix", "fix", "write a checkpoint (-o) with what can be repaired without data")
      .writes(false)
      .done(examine_machine);
}

}  // namespace cli
