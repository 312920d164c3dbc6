// `mm2 tensor quantize|dequantize|repack` through the door of the tools.
#include "format/atomic_writer.h"
#include "tools/tools.h"
#include "unit/format/temp_folder.h"
#include "unit/tools/quantize/tool_data.h"

using namespace mm2;
using support::cases;
using support::Matrix;
using support::n_different;
using support::ToolFile;

namespace {

const std::string kTools = std::string(MM2_TEST_DATA) + "/tools/";

struct Outcome {
  Status status;
  Json report;
};

/// Runs operations from file to file of a folder of its own.
class Bench {
 public:
  Outcome run(const std::string& op, const std::string& in, const std::string& out,
              const std::vector<std::string>& tensors, const Json& params) {
    Outcome outcome;
    const Json options = {{"op", op},
                          {"in", in.starts_with("quant/") ? kTools + in : path(in)},
                          {"out", path(out)},
                          {"tensors", tensors},
                          {"params", params}};
    outcome.status = run_tool("tensor", options, Host{}, &outcome.report);
    INFO(op << ": " << outcome.status.message());
    return outcome;
  }
  Json made(const std::string& op, const std::string& in, const std::string& out,
            const std::vector<std::string>& tensors, const Json& params) {
    const Outcome outcome = run(op, in, out, tensors, params);
    INFO(op << ": " << outcome.status.message());
    REQUIRE(outcome.status.ok());
    return outcome.report;
  }
  std::shared_ptr<Checkpoint> open(const std::string& name) const {
    auto opened = Checkpoint::open(path(name), Host{});
    REQUIRE(opened.ok());
    return *opened;
  }
  std::vector<std::string> names(const std::string& file) const {
    std::vector<std::string> all;
    const auto opened = open(file);
    for (const TensorInfo& tensor : opened->tensors()) all.push_back(tensor.name);
    return all;
  }
  std::vector<std::byte> bytes(const std::string& file, const std::string& name) const {
    const auto opened = open(file);
    const TensorInfo* const info = opened->find(name);
    INFO(name);
    REQUIRE(info != nullptr);
    std::vector<std::byte> data(info->bytes);
    REQUIRE(opened->read(*info, 0, info->bytes, data.data()).ok());
    return data;
  }
  void expect(const std::string& file, const std::string& name, const ToolFile& tool,
              const std::string& wanted) const {
    INFO(name);
    CHECK(n_different(bytes(file, name), tool.read<std::byte>(wanted)) == 0);
  }

 private:
  std::string path(const std::string& name) const { return folder_ / (name + ".safetensors"); }
  TempFolder folder_;
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::string kInputs = "quant/inputs.safetensors";

}  // namespace

TEST_CASE("tensor op: quantize writes what AutoRound, compressed-tensors and ModelOpt write") {
  Bench bench;
  const ToolFile ar("quant/int4_autoround.safetensors"), ct("quant/int4_fp8_ct.safetensors");
  bench.made("quantize", kInputs, "a", {"int4/f32"}, {{"format", "auto_round"}});
  for (const std::string part : {"qweight", "qzeros", "scales"}) {
    bench.expect("a", "int4/f32." + part, ar,
                 "autoround/rtn_sym/g128/f32/packed_auto_gptq/" + part);
  }
  CHECK(bench.names("a").size() == 3);
  bench.made("quantize", kInputs, "b", {"int4/f32", "int4/imatrix"},
             {{"format", "auto_round"}, {"algo", "opt-rtn"}, {"imatrix", "int4/imatrix"}});
  bench.expect("b", "int4/f32.qweight", ar,
               "autoround/opt_rtn_sym_imatrix/g128/f32/packed_auto_gptq/qweight");
  bench.made("quantize", kInputs, "c", {"int4/f32"}, {{"format", "awq"}, {"rule", "auto_round"}});
  bench.expect("c", "int4/f32.qzeros", ar, "autoround/asym/g128/f32/awq/qzeros");
  bench.made("quantize", kInputs, "d", {"int4/bf16"},
             {{"format", "ct_packed"},
              {"sym", false},
              {"group", 32},
              {"arithmetic", "bf16"},
              {"scale_dtype", "BF16"}});
  for (const std::string part :
       {"weight_packed", "weight_scale", "weight_zero_point", "weight_shape"}) {
    bench.expect("d", "int4/bf16." + part, ct, "ct/asym/g32/bf16/" + part);
  }
  const Json report = bench.made("quantize", kInputs, "e", {"fp8/f32"}, {{"format", "fp8_block"}});
  bench.expect("e", "fp8/f32.weight", ct, "block/official_amax/weight");
  bench.expect("e", "fp8/f32.weight_scale_inv", ct, "block/official_amax/weight_scale_inv");
  const Json& figures = report.at("figures").at("fp8/f32");
  CHECK(figures.at("relative_l2").get<double>() > 0.01);
  CHECK(figures.at("relative_l2").get<double>() < 0.04);
  CHECK(figures.at("blocks").get<int>() == 6);
  CHECK(figures.at("zero_blocks").get<int>() == 1);
}

TEST_CASE("tensor op: w1 and w3 of NVFP4 share one scale where that is asked for") {
  Bench bench;
  const ToolFile mo("quant/fp4_fp8_modelopt.safetensors");
  const std::string stem = "modelopt/nvfp4_shared/";
  const std::string w1 = stem + "w1/input", w3 = stem + "w3/input";
  bench.made("quantize", "quant/fp4_fp8_modelopt.safetensors", "a", {w1, w3},
             {{"format", "nvfp4"}, {"share_scale", true}});
  for (const std::string part : {"weight", "weight_scale", "weight_scale_2"}) {
    bench.expect("a", w1 + "." + part, mo, stem + "w1/" + part);
    bench.expect("a", w3 + "." + part, mo, stem + "w3/" + part);
  }
}

TEST_CASE("tensor op: GPTQ with a Hessian is better than rounding to nearest in the outputs") {
  Bench bench;
  const ToolFile tool("quant/gptq_gptqmodel.safetensors");
  const Json report = bench.made(
      "quantize", kInputs, "a", {"gptq/weight", "gptq/hessian"},
      {{"format", "gptq"}, {"algo", "gptq"}, {"hessian", "gptq/hessian"}, {"act_order", true}});
  const std::string stem = "gptqmodel/gptq/sym/g128/act/damp0.01/";
  bench.expect("a", "gptq/weight.qweight", tool, stem + "qweight");
  bench.expect("a", "gptq/weight.g_idx", tool, stem + "g_idx");
  bench.expect("a", "gptq/weight.qzeros", tool, stem + "qzeros_v1");
  CHECK(report.at("figures").at("gptq/weight").at("damp").get<double>() == 0.01);
}

TEST_CASE("tensor op: repacked through every integer layout the numbers are the same") {
  Bench bench;
  bench.made("quantize", kInputs, "0", {"int4/f32"}, {{"format", "auto_round"}, {"group", 32}});
  bench.made("dequantize", "0", "want", bench.names("0"), {{"format", "auto_round"}});
  const auto want = bench.bytes("want", "int4/f32.weight");
  CHECK(want.size() == 64 * 384 * 4);
  std::string from = "auto_round", file = "0";
  for (const std::string to : {"gptq", "gptq_v2", "awq", "ct_packed", "auto_round_v2", "ct_packed",
                               "gptq", "auto_round"}) {
    INFO(from << " to " << to);
    bench.made("repack", file, file + "+", bench.names(file), {{"from", from}, {"format", to}});
    file += "+";
    from = to;
    bench.made("dequantize", file, "got", bench.names(file), {{"format", to}});
    CHECK(bench.bytes("got", "int4/f32.weight") == want);
  }
  CHECK(bench.names(file).size() == 3);
  for (const std::string& name : bench.names("0")) {
    CHECK(bench.bytes(file, name) == bench.bytes("0", name));
  }
}

TEST_CASE("tensor op: floats of 4 and 8 bits come back through dequantize and repack") {
  Bench bench;
  for (const std::string format : {"nvfp4", "ct_nvfp4", "ct_mxfp4", "mxfp8"}) {
    INFO(format);
    const std::string input = contains(format, "mx") ? "mxfp4/f32" : "nvfp4/f32";
    bench.made("quantize", kInputs, "q", {input}, {{"format", format}});
    bench.made("dequantize", "q", "d", bench.names("q"), {{"format", format}, {"dtype", "BF16"}});
    CHECK(bench.bytes("d", input + ".weight").size() ==
          Matrix(ToolFile(kInputs), input).size() * 2);
  }
  bench.made("quantize", kInputs, "q", {"nvfp4/f32"}, {{"format", "nvfp4"}});
  bench.made("repack", "q", "r", bench.names("q"), {{"from", "nvfp4"}, {"format", "ct_nvfp4"}});
  CHECK(bench.bytes("r", "nvfp4/f32.weight_packed") == bench.bytes("q", "nvfp4/f32.weight"));
  bench.made("quantize", kInputs, "f", {"fp8/f32"}, {{"format", "fp8_block_ct"}});
  bench.made("repack", "f", "g", bench.names("f"),
             {{"from", "fp8_block_ct"}, {"format", "fp8_block"}});
  CHECK(bench.bytes("f", "fp8/f32.weight_scale") == bench.bytes("g", "fp8/f32.weight_scale_inv"));
}

TEST_CASE("tensor op: what cannot be is refused by name and nothing is written") {
  Bench bench;
  const auto refused = [&](const std::string& op, const std::string& in,
                           const std::vector<std::string>& tensors, const Json& params,
                           const std::string& part) {
    const Outcome outcome = bench.run(op, in, "never", tensors, params);
    INFO(outcome.status.message());
    CHECK_FALSE(outcome.status.ok());
    CHECK(contains(outcome.status.message(), part));
  };
  refused("quantize", kInputs, {"int4/f32"}, {{"format", "gguf"}}, "must be a layout");
  refused("quantize", kInputs, {"int4/f32"}, {{"format", "gptq"}, {"grup", 128}}, "grup");
  refused("quantize", kInputs, {"int4/f32"}, {{"format", "gptq"}, {"rule", "amax"}}, "rule");
  refused("quantize", kInputs, {"int4/f32"}, {{"format", "nvfp4"}, {"algo", "gptq"}}, "algo");
  refused("quantize", kInputs, {"int4/f32"}, {{"format", "gptq"}, {"algo", "gptq"}}, "hessian");
  refused("quantize", kInputs, {"int4/f32"}, {{"format", "gptq"}, {"group", 100}}, "multiples");
  refused("quantize", kInputs, {"int4/imatrix"}, {{"format", "gptq"}}, "matrix");
  refused("quantize", kInputs, {"fp8/f32"}, {{"format", "ct_mxfp4"}}, "multiples of 32");
  bench.made("quantize", kInputs, "q", {"int4/f32"}, {{"format", "gptq"}, {"sym", false}});
  refused("dequantize", "q", {"int4/f32.qweight"}, {{"format", "gptq"}}, "scales is missing");
  refused("dequantize", "q", {"int4/f32.scales"}, {{"format", "gptq"}}, "no tensor is called");
  refused("dequantize", "q", bench.names("q"), {{"format", "gptq"}, {"bits", 8}}, "must be");
  refused("dequantize", "q", bench.names("q"), {{"format", "gptq"}, {"bits", 3}}, "");
  refused("repack", "q", bench.names("q"),
          {{"from", "gptq"}, {"format", "ct_packed"}, {"v1_zeros", "words"}, {"sym", true}},
          "only quantizing again");
  refused("repack", "q", bench.names("q"), {{"from", "gptq"}, {"format", "awq"}}, "in two ways");
  refused("repack", "q", bench.names("q"), {{"from", "gptq"}, {"format", "nvfp4"}},
          "different grids");
}

TEST_CASE("tensor op: the format may stand beside the parameters, not in both places") {
  const TempFolder folder;
  Json report;
  Json options = {
      {"op", "quantize"},          {"in", std::string(MM2_TEST_DATA) + "/tools/" + kInputs},
      {"tensors", {"int4/f32"}},   {"format", "gptq"},
      {"params", {{"group", 32}}}, {"out", folder / "a.safetensors"}};
  REQUIRE(run_tool("tensor", options, Host{}, &report).ok());
  CHECK(report.at("tensors").at(0).at("name") == "int4/f32.qweight");
  options["params"]["format"] = "awq";
  options["out"] = folder / "b.safetensors";
  const Status twice = run_tool("tensor", options, Host{}, &report);
  CHECK(contains(std::string(twice.message()), "must not be in params too"));
}
