// tensor merge and forensics, through run_tool.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "format/checkpoint.h"
#include "support/golden.h"
#include "tools/tools.h"
#include "unit/format/temp_folder.h"

using namespace mm2;

namespace {

const std::string kData = std::string(MM2_TEST_DATA) + "/";
const std::string kTools = kData + "tools/";

struct Ran {
  Status status;
  Json report;
};

Ran run(std::string_view verb, Json options) {
  Ran ran;
  ran.status = run_tool(verb, options, Host{}, &ran.report);
  return ran;
}

template <typename T>
std::vector<T> read(const std::string& path, const std::string& name) {
  return golden::Tensors(path).read<T>(name);
}

Ran forensics(const std::string& a, const std::string& b, Json more = Json::object()) {
  more["a"] = a;
  more["b"] = b;
  return run("forensics", more);
}

const Json& row_of(const Json& report, const std::string& name) {
  for (const Json& row : report.at("tensors")) {
    if (row.at("name") == name) return row;
  }
  FAIL(name);
  return report;
}

}  // namespace

TEST_CASE("tensor merge: what mergekit gives, with the parameters of its cases") {
  const TempFolder folder;
  const std::string file = kTools + "merge/merge.safetensors";
  const Json facts = golden::read_json(kTools + "merge/merge.json");
  size_t n = 0;
  for (const Json& c : facts.at("cases")) {
    // Those that draw have no result of their own to compare; slerp to the tool's last bit is
    // claimed in merge_test.
    if (c.contains("masks") || c.at("dtype") == "f32+bf16 -> f32") continue;
    if (c.at("method") == "nuslerp" && c.at("dtype") == "bf16") continue;
    INFO(c.at("case"));
    Json params = c.contains("parameters") ? c.at("parameters") : Json::object();
    params["method"] = c.at("method");
    for (const char* name :
         {"t", "base", "weight", "normalize", "scale", "select_topk", "flatten", "row_wise"}) {
      if (c.contains(name)) params[name] = c.at(name);
    }
    const Ran ran = run("tensor", {{"op", "merge"},
                                   {"in", file},
                                   {"tensors", c.at("inputs")},
                                   {"params", params},
                                   {"out", folder / "out.safetensors"}});
    INFO(ran.status.message());
    REQUIRE(ran.status.ok());
    ++n;
    if (c.at("dtype") != "f32") {
      CHECK(ran.report.at("tensors").at(0).at("dtype") == "BF16");
      continue;
    }
    const auto got = read<float>(folder / "out.safetensors", "out");
    const auto wanted = read<float>(file, c.at("output").get<std::string>());
    REQUIRE(got.size() == wanted.size());
    double worst = 0, top = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      worst = std::max(worst, std::abs(double{got[i]} - wanted[i]));
      top = std::max(top, std::abs(double{wanted[i]}));
    }
    const bool angle =
        c.at("case").get<std::string>().find("antipodal_spherical") != std::string::npos;
    CHECK(worst <= (angle ? 1e-4 : 1e-6) * top);
    if (c.contains("branch"))
      CHECK(ran.report.at("figures").value("branch", c.at("branch")) == c.at("branch"));
  }
  CHECK(n == 155);
}

TEST_CASE("tensor merge: FP8 parents into FP8, bit for bit by either rule of scales") {
  const TempFolder folder;
  const std::string file = kTools + "fp8_merge/fp8_merge.safetensors";
  const Json facts = golden::read_json(kTools + "fp8_merge/fp8_merge.json");
  REQUIRE(facts.at("cases").size() == 6);
  for (const Json& c : facts.at("cases")) {
    const double t = c.at("t").get<double>();
    for (const char* rule : {"amax", "mse"}) {
      char name[32];
      std::snprintf(name, sizeof name, "t%g/%s", t, rule);
      INFO(name);
      const Ran ran =
          run("tensor",
              {{"op", "merge"},
               {"in", file},
               {"tensors",
                {"parent_a/weight", "parent_a/weight_scale_inv", "parent_b/weight",
                 "parent_b/weight_scale_inv"}},
               {"params", {{"method", "slerp"}, {"base", 0}, {"t", t}, {"scale_search", rule}}},
               {"out", folder / "out.safetensors"}});
      INFO(ran.status.message());
      REQUIRE(ran.status.ok());
      CHECK(std::abs(ran.report.at("figures").at("cosine").get<double>() -
                     c.at("cos").get<double>()) <= 1e-14);
      CHECK(read<uint8_t>(folder / "out.safetensors", "out") ==
            read<uint8_t>(file, std::string(name) + "/weight"));
      CHECK(read<float>(folder / "out.safetensors", "out_scale_inv") ==
            read<float>(file, std::string(name) + "/weight_scale_inv"));
    }
  }
}

TEST_CASE("tensor merge: what it cannot do is refused in one sentence") {
  const TempFolder folder;
  const auto refused = [&](Json params, Json tensors, const std::string& why) {
    const Ran ran = run("tensor", {{"op", "merge"},
                                   {"in", kTools + "merge/merge.safetensors"},
                                   {"tensors", tensors},
                                   {"params", params},
                                   {"out", folder / "x"}});
    INFO(ran.status.message());
    CHECK(ran.status.code() == Code::invalid_argument);
    CHECK(ran.status.message().find(why) != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(folder / "x"));
  };
  const Json two = {"parents/p0", "parents/p1"};
  refused({{"method", "blend"}}, two, "there is no method \"blend\"");
  refused({{"method", "linear"}, {"tt", 3}}, two, "unknown option tt");
  refused({{"method", "linear"}, {"weight", {1, 1, 1}}}, two, "3 values for 2 parents");
  refused({{"method", "linear"}, {"weight", {1, -1}}}, two, "add up to 0");
  refused({{"method", "slerp"}, {"t", 0.5}}, two, "needs a base");
  refused({{"method", "slerp"}, {"t", 0.5}, {"base", 0}}, {"parents/p0", "slerp/vector/a"},
          "slerp/vector/a is [96], parents/p0 is [32, 48]");
}

TEST_CASE("forensics: table and schedule of two checkpoints are those of the reference") {
  const std::string a = kData + "models/bf16_single", b = kTools + "pair/model_b";
  const Json facts = golden::read_json(kTools + "pair/pair.json");
  Json first;
  for (const int threads : {1, 3}) {
    const Ran ran = forensics(a, b, {{"threads", threads}});
    INFO(ran.status.message());
    REQUIRE(ran.status.ok());
    if (threads == 1) first = ran.report;
    CHECK(ran.report == first);
  }
  CHECK(first.at("n_weight_pairs") == 177);
  CHECK(first.at("n_tensor_pairs") == 177);
  size_t identical = 0;
  for (const Json& wanted : facts.at("rows")) {
    const Json& row = row_of(first, wanted.at("name").get<std::string>());
    INFO(wanted.at("name"));
    const auto same = [&](const char* got, const char* field, double absolute) {
      const double x = row.at(got).get<double>(), y = wanted.at(field).get<double>();
      CHECK(std::abs(x - y) <= 1e-9 * std::abs(y) + absolute);
    };
    same("cos", "cos", 0);
    same("delta", "delta", 1e-15);
    same("rel_l2", "rel_l2", 0);
    same("norm_ratio", "norm_ratio_b_over_a", 0);
    same("t", "t", 0);
    const bool equal = wanted.at("bit_identical").get<bool>();
    CHECK((row.at("change") == "identical") == equal);
    identical += equal ? 1 : 0;
  }
  CHECK(first.at("changes").at("identical") == identical);
  CHECK(std::abs(first.at("schedule").at("divisors").at(0).at("divisor").get<double>() -
                 facts.at("p99_of_delta").get<double>()) <= 1e-12);
}

TEST_CASE("forensics: table and histogram go into files, and the table is JSON") {
  const TempFolder folder;
  const Ran ran = forensics(kData + "models/bf16_single", kTools + "pair/model_b",
                            {{"out", folder / "scan.json"}, {"svg", folder / "t.svg"}, {"top", 3}});
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  CHECK_FALSE(ran.report.contains("tensors"));
  CHECK(ran.report.at("top").size() == 3);
  const Json scan = golden::read_json(folder / "scan.json");
  CHECK(scan.at("tensors").size() == 177);
  CHECK(scan.at("schedule") == ran.report.at("schedule"));
  CHECK(read_file(folder / "t.svg").find("</svg>") != std::string::npos);
}

TEST_CASE("forensics: a checkpoint and itself are identical, and there is no schedule") {
  for (const char* model : {"fp8", "gptq", "alias_fused"}) {
    INFO(model);
    const std::string path = kData + "models/" + model;
    const Ran ran = forensics(path, path);
    INFO(ran.status.message());
    REQUIRE(ran.status.ok());
    const size_t n = ran.report.at("n_weight_pairs").get<size_t>();
    CHECK(ran.report.at("changes").at("identical") == n);
    CHECK(ran.report.at("schedule").at("error").get<std::string>().find("equal in both") !=
          std::string::npos);
    for (const Json& row : ran.report.at("tensors")) {
      CHECK(row.at("delta") == 0);
      CHECK_FALSE(row.contains("t"));
    }
    CHECK(forensics(path, path, {{"strict", true}}).status.code() == Code::invalid_argument);
  }
}

TEST_CASE("forensics: a change of scales alone is told from a change of codes") {
  const TempFolder folder;
  const std::string model = kData + "models/fp8";
  std::filesystem::copy(model, folder / "b", std::filesystem::copy_options::recursive);
  // The first scale of one matrix, doubled by its exponent.
  const auto view = Checkpoint::open(folder / "b", Host{});
  REQUIRE(view.ok());
  const TensorInfo* scale = (*view)->find("model.layers.0.self_attn.q_proj.weight_scale_inv");
  REQUIRE(scale != nullptr);
  const std::string shard((*view)->file_of(*scale));
  std::string bytes = read_file(shard);
  float value = 0;
  std::memcpy(&value, bytes.data() + scale->offset, 4);
  value *= 2;
  std::memcpy(bytes.data() + scale->offset, &value, 4);
  std::ofstream(shard, std::ios::binary) << bytes;
  const Ran ran = forensics(model, folder / "b");
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  CHECK(ran.report.at("changes").at("scales-only") == 1);
  CHECK(ran.report.at("changes").at("values") == 0);
  const Json& row = row_of(ran.report, "model.layers.0.self_attn.q_proj.weight");
  CHECK(row.at("change") == "scales-only");
  CHECK(row.at("norm_ratio").get<double>() > 1);
  const Json& scales = ran.report.at("scales");
  CHECK(scales.at("bit_identical_codes") == scales.at("quantised_pairs"));
  CHECK(scales.at("bit_identical_scales").get<size_t>() + 1 ==
        scales.at("quantised_pairs").get<size_t>());
}

TEST_CASE("forensics: checkpoints of other shapes say what has no partner") {
  // One expert fewer on the second side, another router.
  const std::string a = kData + "models/bf16_single", b = kData + "models/pruned";
  const Ran ran = forensics(a, b);
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  CHECK(ran.report.contains("only_in_a"));
  CHECK_FALSE(ran.report.contains("only_in_b"));
  CHECK(ran.report.at("shapes_differ").size() >= 1);
  const Ran strict = forensics(a, b, {{"strict", true}});
  CHECK(strict.status.code() == Code::check_failed);
  CHECK(strict.report.contains("only_in_a"));
  CHECK(forensics("", "x").status.code() == Code::invalid_argument);
  CHECK(forensics(kData + "models/nothing", b).status.code() == Code::not_found);
}
