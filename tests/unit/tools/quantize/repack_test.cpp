// The same codes in every layout: each one into each other, and what cannot be.
#include "tensor/convert.h"
#include "unit/tools/quantize/packing.h"

using namespace mm2;
using namespace support;

namespace {

const ToolFile& file() {
  static const ToolFile repack("repack/repack.safetensors");
  return repack;
}

// The folders of a case and the layouts that they are.
const std::vector<std::pair<std::string, std::string>> kFolders = {
    {"gptq_v1", "gptq"}, {"gptq_v2", "gptq_v2"},   {"autoround_auto_gptq", "auto_round"},
    {"awq", "awq"},      {"ct_pack", "ct_packed"}, {"ct_pack_actorder", "ct_packed"}};

struct Stored {
  PackSpec spec;
  Packed packed;
};

Stored stored(const std::string& name, const std::string& folder, const std::string& dialect,
              int64_t group, bool symmetric, bool ordered) {
  Stored s{spec_of(dialect, 64, 256, group, symmetric), {}};
  s.spec.scale_dtype = Dtype::f16;
  s.spec.ordered = ordered;
  const auto parts = plan_parts(s.spec);
  INFO(parts.status().message());
  REQUIRE(parts.ok());
  for (const PlannedPart& part : *parts) {
    const std::string tensor = name + "/" + folder + "/" + part.suffix.substr(1);
    CHECK(file().info(tensor).shape == part.shape);
    CHECK(file().info(tensor).dtype == part.dtype);
    s.packed.parts.push_back(part);
    s.packed.bytes.push_back(file().read<std::byte>(tensor));
  }
  return s;
}

struct Outcome {
  Status status;
  Packed packed;
  std::vector<std::string> remarks;
};

Outcome repacked(const Stored& from, const std::string& to, const RepackOptions& options = {}) {
  Outcome outcome;
  auto spec = plan_repack(from.spec, *find_dialect(to), options);
  if (!spec.ok()) return {spec.status(), {}, {}};
  auto coded = unpack_matrix(from.spec, from.packed.stored(), options.v1_zeros, outcome.remarks);
  if (!coded.ok()) return {coded.status(), {}, {}};
  outcome.status = repack(from.spec, *spec, options, *coded, outcome.remarks);
  if (outcome.status.ok()) outcome.packed = packed(*spec, *coded);
  return outcome;
}

}  // namespace

TEST_CASE("repack: every integer layout into every other, byte by byte") {
  int n = 0;
  for (const Json& c : cases("repack/repack.json")) {
    if (!c.contains("group")) continue;
    const auto name = c.at("case").get<std::string>();
    const bool symmetric = c.at("sym").get<bool>(), ordered = c.at("act_order").get<bool>();
    const RepackOptions options{.v1_zeros = V1Zeros::words};
    for (const auto& [from_folder, from] : kFolders) {
      if (!file().has(name + "/" + from_folder + "/scales") &&
          !file().has(name + "/" + from_folder + "/weight_scale")) {
        continue;
      }
      const Stored source =
          stored(name, from_folder, from, c.at("group").get<int64_t>(), symmetric, ordered);
      CHECK(n_different(read_back(source.spec, source.packed),
                        read_back(source.spec, source.packed)) == 0);
      for (const auto& [to_folder, to] : kFolders) {
        if (to_folder.ends_with("actorder") != ordered && to == "ct_packed") continue;
        INFO(name << ": " << from << " to " << to);
        const Outcome outcome = repacked(source, to, options);
        if (ordered && (to == "awq" || to == "auto_round")) {
          CHECK(outcome.status.code() == Code::unsupported);
          CHECK(contains(outcome.status.message(), "which column is of which group"));
          continue;
        }
        INFO(outcome.status.message());
        REQUIRE(outcome.status.ok());
        for (size_t i = 0; i < outcome.packed.parts.size(); ++i) {
          const std::string suffix = outcome.packed.parts[i].suffix.substr(1);
          const auto want = file().read<std::byte>(name + "/" + to_folder + "/" + suffix);
          INFO(suffix);
          CHECK(n_different(outcome.packed.bytes[i], want) == 0);
        }
        ++n;
      }
    }
  }
  CHECK(n == 5 * 25 + 9);
}

TEST_CASE("repack: numbers stay what they are in every layout that stores them by fields") {
  for (const std::string name :
       {"sym_g128", "sym_g128_negative_scales", "asym_g128_zero_1_to_15"}) {
    const auto want = file().floats(name + "/plain/dequant_f32");
    for (const auto& [folder, dialect] : kFolders) {
      if (folder == "ct_pack_actorder") continue;
      INFO(name << " " << folder);
      const Stored s = stored(name, folder, dialect, 128, name.starts_with("sym"), false);
      CHECK(n_different(read_back(s.spec, s.packed), want) == 0);
    }
  }
  const Stored s = stored("sym_g128_act_order", "gptq_v1", "gptq", 128, true, true);
  CHECK(n_different(read_back(s.spec, s.packed),
                    file().floats("sym_g128_act_order/plain/dequant_f32")) == 0);
}

TEST_CASE("item 8: zeros of 0 in GPTQ v1 borrow, are refused unless said how they were written") {
  const std::string name = "asym_g128_zero_0_to_15";
  Stored v1 = stored(name, "gptq_v1", "gptq", 128, false, false);
  const Outcome refused = repacked(v1, "awq");
  CHECK(refused.status.code() == Code::unsupported);
  CHECK(contains(refused.status.message(), "tools read in two ways"));

  const auto zeros = [&](const Stored& s, V1Zeros how) {
    std::vector<std::string> remarks;
    auto coded = unpack_matrix(s.spec, s.packed.stored(), how, remarks);
    REQUIRE(coded.ok());
    return coded->zeros;
  };
  const auto want = file().read<uint8_t>(name + "/plain/zero");
  CHECK(zeros(v1, V1Zeros::words) == want);
  CHECK(zeros(v1, V1Zeros::fields) != want);
  for (size_t i = 0; i < v1.packed.parts.size(); ++i) {
    if (v1.packed.parts[i].kind == PartKind::zero) {
      v1.packed.bytes[i] = file().read<std::byte>(name + "/gptq_v1/qzeros_nibblewise");
    }
  }
  CHECK(zeros(v1, V1Zeros::fields) == want);
  const Stored v2 = stored(name, "gptq_v2", "gptq_v2", 128, false, false);
  const Outcome written = repacked(v2, "gptq");
  REQUIRE(written.status.ok());
  REQUIRE(written.remarks.size() == 1);
  CHECK(contains(written.remarks[0], "misread"));
}

TEST_CASE("repack: asymmetric codes become symmetric only where every zero is in the middle") {
  const Stored asym = stored("asym_g128_zero_1_to_15", "gptq_v2", "gptq_v2", 128, false, false);
  const Outcome refused = repacked(asym, "ct_packed", {.symmetric = true});
  CHECK(refused.status.code() == Code::unsupported);
  CHECK(contains(refused.status.message(), "only quantizing again"));
  Stored sym = stored("sym_g128", "gptq_v2", "gptq_v2", 128, true, false);
  sym.spec.symmetric = false;
  const Outcome fine = repacked(sym, "ct_packed", {.symmetric = true});
  REQUIRE(fine.status.ok());
  CHECK_FALSE(fine.packed.has(".weight_zero_point"));
  // The other way: the middle is written out.
  sym.spec.symmetric = true;
  const Outcome written = repacked(sym, "ct_packed", {.symmetric = false});
  REQUIRE(written.status.ok());
  CHECK(written.packed.as<uint32_t>(".weight_zero_point") ==
        std::vector<uint32_t>(8 * 2, 0x88888888u));
  // Zeros that contradict what is said.
  Stored wrong = asym;
  wrong.spec.symmetric = true;
  CHECK(repacked(wrong, "awq").status.code() == Code::format);
}

TEST_CASE("repack: groups of 128 into 32 and back, 32 into 128 only of equal scales") {
  const Stored wide = stored("sym_g128", "gptq_v1", "gptq", 128, true, false);
  const Outcome narrow = repacked(wide, "ct_packed", {.group = 32});
  REQUIRE(narrow.status.ok());
  Stored again{wide.spec, narrow.packed};
  again.spec.dialect = find_dialect("ct_packed");
  again.spec.group = 32;
  const Outcome back = repacked(again, "gptq", {.group = 128});
  INFO(back.status.message());
  REQUIRE(back.status.ok());
  CHECK(back.packed.bytes == wide.packed.bytes);

  const Stored small = stored("sym_g32", "awq", "awq", 32, true, false);
  const Outcome refused = repacked(small, "awq", {.group = 128});
  CHECK(refused.status.code() == Code::unsupported);
  CHECK(contains(refused.status.message(), "different scales or zeros"));
  CHECK(repacked(small, "awq", {.group = 48}).status.code() == Code::unsupported);
}

TEST_CASE("repack: scales that the type of a layout cannot hold, and negative ones, on demand") {
  Stored ct = stored("sym_g128_negative_scales", "ct_pack", "ct_packed", 128, true, false);
  std::vector<std::string> remarks;
  auto coded = unpack_matrix(ct.spec, ct.packed.stored(), V1Zeros::refuse, remarks);
  REQUIRE(coded.ok());
  const Outcome negative = repacked(ct, "gptq", {.positive_scales = true});
  CHECK(contains(negative.status.message(), "no positive one says the same"));

  ct.spec.scale_dtype = Dtype::f32;
  coded->scales[3] = 0.1f;
  ct.packed = packed(ct.spec, *coded);
  const Outcome refused = repacked(ct, "gptq");
  CHECK(refused.status.code() == Code::unsupported);
  CHECK(contains(refused.status.message(), "row 1, group 1 is 0.1, which F16 cannot hold exactly"));
  CHECK(repacked(ct, "gptq", {.may_round_scales = true}).status.ok());
  CHECK(repacked(ct, "ct_packed").status.ok());
  CHECK(repacked(ct, "ct_packed", {.scale_dtype = Dtype::bf16}).status.code() == Code::unsupported);
}

TEST_CASE("repack: NVFP4 of ModelOpt and compressed-tensors, and when the way back is not exact") {
  for (const std::string which : {"reciprocal_exact", "reciprocal_inexact"}) {
    INFO(which);
    const std::string stem = "nvfp4/" + which;
    Stored modelopt{spec_of("nvfp4", 64, 256), {}};
    modelopt.spec.has_input_scale = true;
    const auto parts = plan_parts(modelopt.spec);
    REQUIRE(parts->size() == 4);
    for (const PlannedPart& part : *parts) {
      modelopt.packed.parts.push_back(part);
      const std::string tensor = stem + "/modelopt/" + part.suffix.substr(1);
      CHECK(file().info(tensor).shape == part.shape);
      modelopt.packed.bytes.push_back(file().read<std::byte>(tensor));
    }
    const Outcome ct = repacked(modelopt, "ct_nvfp4");
    REQUIRE(ct.status.ok());
    for (size_t i = 0; i < ct.packed.parts.size(); ++i) {
      const std::string tensor = stem + "/ct/" + ct.packed.parts[i].suffix.substr(1);
      CHECK(file().info(tensor).shape == ct.packed.parts[i].shape);
      CHECK(n_different(ct.packed.bytes[i], file().read<std::byte>(tensor)) == 0);
    }
    const bool exact = which == "reciprocal_exact";
    const auto about_weights =
        std::count_if(ct.remarks.begin(), ct.remarks.end(),
                      [](const std::string& r) { return contains(r, "global scale"); });
    CHECK(about_weights == (exact ? 0 : 1));
    Stored back{modelopt.spec, ct.packed};
    back.spec.dialect = find_dialect("ct_nvfp4");
    const Outcome again = repacked(back, "nvfp4");
    REQUIRE(again.status.ok());
    CHECK((again.packed.at(".weight_scale_2") == modelopt.packed.at(".weight_scale_2")) == exact);
    CHECK(again.packed.at(".weight") == modelopt.packed.at(".weight"));
    CHECK(again.packed.at(".weight_scale") == modelopt.packed.at(".weight_scale"));
  }
  const auto scales = file().floats("nvfp4/reciprocals/weight_scale_2");
  const auto globals = file().floats("nvfp4/reciprocals/global");
  int64_t n_wrong = 0;
  for (size_t i = 0; i < scales.size(); ++i) n_wrong += 1.0f / scales[i] == globals[i] ? 0 : 1;
  CHECK(n_wrong == 0);
}

TEST_CASE("repack: other grids and other groups are refused with the reason") {
  const Stored gptq = stored("sym_g128", "gptq_v1", "gptq", 128, true, false);
  for (const std::string to : {"nvfp4", "ct_mxfp4", "fp8_block"}) {
    const auto spec = plan_repack(gptq.spec, *find_dialect(to), {});
    CHECK(spec.status().code() == Code::unsupported);
    CHECK(contains(spec.status().message(), "only quantizing again"));
  }
  const auto mx = plan_repack(spec_of("nvfp4", 64, 256), *find_dialect("ct_mxfp4"), {});
  CHECK(contains(mx.status().message(), "different weights share a scale"));
  const auto fp8 = plan_repack(spec_of("fp8_block", 64, 256), *find_dialect("fp8_row"), {});
  CHECK(contains(fp8.status().message(), "different weights share a scale"));
  PackSpec scaled = spec_of("fp8_block_ct", 64, 256);
  scaled.has_input_scale = true;
  const auto vendor = plan_repack(scaled, *find_dialect("fp8_block"), {});
  REQUIRE(vendor.ok());
  CodedWhole nothing;
  std::vector<std::string> remarks;
  CHECK(repack(scaled, *vendor, {}, nothing, remarks).ok());
  REQUIRE(remarks.size() == 1);
  CHECK(contains(remarks[0], "activations"));
  PackSpec odd = gptq.spec;
  odd.dialect = find_dialect("ct_packed");
  odd.n_rows = 60;
  CHECK(contains(plan_repack(odd, *find_dialect("awq"), {}).status().message(), "multiples of 8"));
}

TEST_CASE("repack: a map to groups that there are not is refused") {
  Stored s = stored("sym_g128_act_order", "gptq_v1", "gptq", 128, true, true);
  for (size_t i = 0; i < s.packed.parts.size(); ++i) {
    if (s.packed.parts[i].kind == PartKind::group_map) s.packed.bytes[i][4 * 17] = std::byte{2};
  }
  const Outcome outcome = repacked(s, "gptq_v2");
  CHECK(outcome.status.code() == Code::format);
  CHECK(contains(outcome.status.message(), "column 17 is of group 2"));
}
