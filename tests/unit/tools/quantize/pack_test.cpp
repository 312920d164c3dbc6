// Packing against the files of the tools, against hand-made words and against our own readers.
#include <random>

#include "tensor/convert.h"
#include "unit/tools/quantize/packing.h"

using namespace mm2;
using namespace support;

namespace {

// Random codes, scales and zeros of a layout.
CodedWhole random_codes(const PackSpec& spec, uint32_t seed) {
  std::mt19937 generator(seed);
  const auto below = [&](uint32_t n) { return generator() % n; };
  const auto n_scales = static_cast<size_t>((spec.n_rows + spec.patch_rows() - 1) /
                                            spec.patch_rows() * spec.n_patches());
  const Scheme& scheme = scheme_of(*spec.dialect);
  CodedWhole whole;
  for (int64_t i = 0; i < spec.n_rows * spec.n_cols; ++i) {
    uint32_t code = below(scheme.codes == CodeType::integer ? 1u << spec.bits : 16);
    if (scheme.codes == CodeType::e4m3) code = below(127) | (code & 1) << 7;
    whole.codes.push_back(static_cast<uint8_t>(code));
  }
  const Dtype kept = spec.dialect->parts[1].dtype;
  for (size_t i = 0; i < n_scales; ++i) {
    if (dtype_bits(kept) == 8) {
      whole.scale_codes.push_back(static_cast<uint8_t>(1 + below(126)));
    } else {  // exact in every type of scales
      const float sign = scheme.codes == CodeType::integer && below(2) == 1 ? -1.0f : 1.0f;
      whole.scales.push_back(sign * static_cast<float>(1 + below(200)) * 0x1p-12f);
    }
    if (!spec.symmetric)
      whole.zeros.push_back(static_cast<uint8_t>(1 + below((1u << spec.bits) - 1)));
  }
  whole.global = 0.0123f;
  return whole;
}

void expect_equal(const Packed& packed, const ToolFile& file, const std::string& stem,
                  const std::string& suffix, const std::string& name) {
  INFO(stem << name);
  CHECK(n_different(packed.at(suffix), file.read<std::byte>(stem + name)) == 0);
}

CodedWhole plain(const ToolFile& file, const std::string& stem, const std::string& scale,
                 int bits) {
  CodedWhole whole;
  whole.codes = counted_from_zero(file, stem + "/codes", bits);
  whole.scales = file.floats(stem + scale);
  if (file.has(stem + "/zero")) whole.zeros = counted_from_zero(file, stem + "/zero", bits);
  return whole;
}

}  // namespace

TEST_CASE("pack: the packers of AutoRound byte by byte, GPTQ v1 and v2 words and AWQ") {
  const ToolFile file("quant/int4_autoround.safetensors");
  int n = 0;
  for (const Json& c : cases("quant/int4_autoround.json")) {
    const auto name = c.at("case").get<std::string>();
    if (!file.has(name + "/codes")) continue;
    CodedWhole whole = plain(file, name, "/scale", 4);
    const bool symmetric = whole.zeros.empty();
    for (const auto& [tag, dialect] :
         {std::pair<std::string, std::string>{"/packed_auto_gptq", "auto_round"},
          {"/packed_auto_round", "auto_round_v2"}}) {
      if (!file.has(name + tag + "/qweight")) continue;
      const PackSpec spec = spec_of(dialect, 64, 384, c.at("group").get<int64_t>(), symmetric);
      const Packed made = packed(spec, whole);
      for (const std::string suffix : {".qweight", ".qzeros", ".scales"}) {
        expect_equal(made, file, name + tag + "/", suffix, suffix.substr(1));
      }
      CHECK_FALSE(made.has(".g_idx"));
      ++n;
    }
    if (name != "autoround/asym/g128/f32") continue;
    const Packed made = packed(spec_of("awq", 64, 384, 128, false), whole);
    for (const std::string suffix : {".qweight", ".qzeros", ".scales"}) {
      expect_equal(made, file, name + "/awq/", suffix, suffix.substr(1));
    }
  }
  CHECK(n == 28);
}

TEST_CASE("pack: GPTQModel's files byte by byte, v1 and v2, ordered columns too") {
  const ToolFile file("quant/gptq_gptqmodel.safetensors");
  for (const Json& c : cases("quant/gptq_gptqmodel.json")) {
    const auto name = c.at("case").get<std::string>();
    CodedWhole whole = plain(file, name, "/scale_f32", 4);
    whole.group_map = file.read<int32_t>(name + "/g_idx");
    PackSpec spec = spec_of("gptq_v2", 64, static_cast<int64_t>(whole.codes.size()) / 64,
                            c.at("group").get<int64_t>(), false);
    spec.ordered = c.value("desc_act", false);
    Packed made = packed(spec, whole);
    for (const std::string suffix : {".qweight", ".qzeros", ".scales", ".g_idx"}) {
      expect_equal(made, file, name + "/", suffix, suffix.substr(1));
    }
    spec.dialect = find_dialect("gptq");
    made = packed(spec, whole, false);
    expect_equal(made, file, name + "/", ".qzeros", "qzeros_v1");
  }
}

TEST_CASE("pack: compressed-tensors of 4 and 8 bits byte by byte, scales in their type") {
  const ToolFile file("quant/int4_fp8_ct.safetensors"), eight("quant/fp4_ct.safetensors");
  for (const Json& c : cases("quant/int4_fp8_ct.json")) {
    const auto name = c.at("case").get<std::string>();
    if (!file.has(name + "/codes")) continue;
    CodedWhole whole = plain(file, name, "/weight_scale", 4);
    PackSpec spec =
        spec_of("ct_packed", 64, 384, c.at("group").get<int64_t>(), whole.zeros.empty());
    spec.scale_dtype = name.ends_with("bf16") ? Dtype::bf16 : Dtype::f32;
    const Packed made = packed(spec, whole);
    for (const std::string suffix : {".weight_packed", ".weight_scale", ".weight_shape"}) {
      expect_equal(made, file, name + "/", suffix, suffix.substr(1));
    }
    CHECK(made.has(".weight_zero_point") == !spec.symmetric);
    if (!spec.symmetric) {
      expect_equal(made, file, name + "/", ".weight_zero_point", "weight_zero_point");
    }
  }
  const std::string name = "ct/w8_g128/f32";
  PackSpec spec = spec_of("ct_packed", 64, 384);
  spec.bits = 8;
  const Packed made = packed(spec, plain(eight, name, "/weight_scale", 8));
  expect_equal(made, eight, name + "/", ".weight_packed", "weight_packed");
}

TEST_CASE("item 8: GPTQ words packed by hand, zeros 0x77777777, negative scales, no g_idx") {
  PackSpec spec = spec_of("gptq", 8, 8, 8);
  CodedWhole whole;
  for (int r = 0; r < 8; ++r) {
    for (int c = 0; c < 8; ++c) whole.codes.push_back(static_cast<uint8_t>((r + c) % 16));
    whole.scales.push_back(r % 2 == 0 ? -0.5f : 0.25f);
  }
  Packed made = packed(spec, whole);
  CHECK(made.as<uint32_t>(".qweight")[0] == 0x76543210u);
  CHECK(made.as<uint32_t>(".qweight")[7] == 0xEDCBA987u);
  CHECK(made.as<uint32_t>(".qzeros") == std::vector<uint32_t>{0x77777777u});
  CHECK(made.as<int32_t>(".g_idx") == std::vector<int32_t>(8, 0));
  CHECK(made.as<uint16_t>(".scales")[0] == 0xB800);  // -0.5
  auto numbers = read_back(spec, made);
  CHECK(numbers[0] == 4.0f);  // -0.5 * (0 - 8)
  CHECK(numbers[8] == -1.75f);

  spec = spec_of("auto_round", 32, 32, 32);
  whole = random_codes(spec, 3);
  made = packed(spec, whole);
  CHECK_FALSE(made.has(".g_idx"));
  CHECK(made.as<uint32_t>(".qzeros") == std::vector<uint32_t>(4, 0x77777777u));
  numbers.assign(32 * 32, 0);
  dequantize_coded(spec, whole.rows(32), numbers.data());
  CHECK(n_different(read_back(spec, made), numbers) == 0);

  spec = spec_of("awq", 8, 2, 2);
  whole.codes = {0, 9, 1, 9, 2, 9, 3, 9, 4, 9, 5, 9, 6, 9, 7, 9};  // row r: code r, then 9
  whole.scales.assign(8, 1.0f);
  whole.zeros.clear();
  made = packed(spec, whole);
  CHECK(made.as<uint32_t>(".qweight") == std::vector<uint32_t>{0x75316420u, 0x99999999u});
  CHECK(made.as<uint32_t>(".qzeros") == std::vector<uint32_t>{0x88888888u});
}

TEST_CASE("pack: every layout is read back by lib/quant as dequantize_coded has it") {
  for (const Dialect& dialect : dialects()) {
    for (const bool symmetric : {true, false}) {
      for (const int bits : {2, 3, 4, 5, 8}) {
        for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{64, 256}, {96, 64}}) {
          PackSpec spec = spec_of(std::string(dialect.name), rows, cols, 32, symmetric);
          if (!spec.is_integer() && (!symmetric || bits != 4)) continue;
          spec.bits = bits;
          const auto planned = plan_parts(spec);
          if (!planned.ok()) {
            CHECK(planned.status().code() == Code::unsupported);  // this width
            continue;
          }
          INFO(dialect.name << " " << bits << " bits, " << rows << " x " << cols << symmetric);
          const CodedWhole whole = random_codes(spec, 17);
          const Packed made = packed(spec, whole);
          CHECK(made.bytes == packed(spec, whole, false).bytes);
          std::vector<float> numbers(static_cast<size_t>(rows * cols));
          dequantize_coded(spec, whole.rows(rows), numbers.data());
          CHECK(n_different(read_back(spec, made), numbers) == 0);
        }
      }
    }
  }
}

TEST_CASE("pack: what is written is described and taken apart as what it was made of") {
  for (const Dialect& dialect : dialects()) {
    for (const bool symmetric : {true, false}) {
      PackSpec spec = spec_of(std::string(dialect.name), 64, 128, 32, symmetric);
      if (!spec.is_integer() && !symmetric) continue;
      spec.ordered = dialect.name.starts_with("gptq");
      INFO(dialect.name << symmetric);
      CodedWhole whole = random_codes(spec, 23);
      for (int32_t c = 0; spec.ordered && c < 128; ++c) whole.group_map.push_back(c % 4);
      const Packed made = packed(spec, whole);
      const Memory source = made.memory();
      const WeightPlace place = place_of(64, 128);
      const auto description = describe_weight(place, source, config_of(spec));
      INFO(description.status().message());
      REQUIRE(description.ok());
      auto found = pack_spec(*description, 64, 128);
      REQUIRE(found.ok());
      CHECK(scheme_of(*found->dialect).id == scheme_of(dialect).id);
      CHECK(found->bits ==
            (spec.is_integer() || description->scheme->codes == CodeType::e2m1 ? 4 : 8));
      // AWQ stores the zeros of symmetric codes too; nothing else tells.
      if (dialect.name == "awq" && symmetric) whole.zeros.assign(whole.scales.size(), 8);
      CHECK(found->symmetric == whole.zeros.empty());
      CHECK(found->ordered == spec.ordered);
      CHECK(found->patch_rows() == spec.patch_rows());
      CHECK(found->patch_cols() == spec.patch_cols());
      std::vector<std::string> remarks;
      const auto coded = unpack_matrix(*found, made.stored(), V1Zeros::refuse, remarks);
      INFO(coded.status().message());
      REQUIRE(coded.ok());
      CHECK(coded->codes == whole.codes);
      CHECK(coded->scales == whole.scales);
      CHECK(coded->scale_codes == whole.scale_codes);
      CHECK(coded->zeros == whole.zeros);
      CHECK(coded->group_map == whole.group_map);
      CHECK(remarks.empty());
    }
  }
}

TEST_CASE("item 3: FP8 blocks that are partial at both edges are packed and read back") {
  const PackSpec spec = spec_of("fp8_block", 150, 300);
  const CodedWhole whole = random_codes(spec, 5);
  CHECK(whole.scales.size() == 6);
  std::vector<float> numbers(150 * 300);
  dequantize_coded(spec, whole.rows(150), numbers.data());
  CHECK(n_different(read_back(spec, packed(spec, whole)), numbers) == 0);
}

TEST_CASE("pack: sizes, widths and types that a layout does not have are refused before any work") {
  const auto refused = [](PackSpec spec, const std::string& part) {
    const auto planned = plan_parts(spec);
    REQUIRE_FALSE(planned.ok());
    INFO(planned.status().message());
    CHECK(contains(planned.status().message(), part));
  };
  refused(spec_of("gptq", 64, 100, 20), "columns in multiples of 8");
  refused(spec_of("gptq", 60, 128, 32), "rows in multiples of 8");
  refused(spec_of("auto_round", 40, 128, 32), "rows in multiples of 32");
  refused(spec_of("awq", 60, 128, 32), "rows in multiples of 8");
  refused(spec_of("ct_packed", 64, 96, 64), "columns in multiples of 64");
  refused(spec_of("nvfp4", 64, 40), "columns in multiples of 16");
  refused(spec_of("ct_mxfp4", 64, 48), "columns in multiples of 32");
  PackSpec spec = spec_of("awq", 64, 128, 32);
  spec.bits = 8;
  refused(spec, "8 bits");
  spec.bits = 4;
  spec.ordered = true;
  refused(spec, "cannot say which column is of which group");
  spec = spec_of("ct_packed", 64, 128, 32);
  spec.scale_dtype = Dtype::i32;
  refused(spec, "must be F32, BF16 or F16");
  spec = spec_of("gptq", -8, 128);
  refused(spec, "is none");
  const auto unknown = named_dialect("gguf");
  CHECK(unknown.status().code() == Code::invalid_argument);
  CHECK(contains(unknown.status().message(), "ct_packed"));
}

TEST_CASE("pack: a scale beyond F16 is refused with row and columns") {
  const PackSpec spec = spec_of("gptq", 8, 32, 16);
  CodedWhole whole = random_codes(spec, 9);
  whole.scales[2 * 2 + 1] = 70000;
  const auto parts = plan_parts(spec);
  std::vector<std::vector<std::byte>> bytes;
  std::vector<std::byte*> memory;
  for (const PlannedPart& part : *parts) bytes.emplace_back(part.bytes);
  for (auto& part : bytes) memory.push_back(part.data());
  const Status status = pack_rows(spec, *parts, whole.rows(8), memory);
  CHECK(status.code() == Code::numeric);
  CHECK(contains(status.message(), "row 2, columns from 16 is 70000"));
  CHECK(contains(status.message(), "F16 cannot hold"));
}

TEST_CASE("pack: empty matrices make empty tensors") {
  for (const Dialect& dialect : dialects()) {
    const PackSpec spec = spec_of(std::string(dialect.name), 0, 64, 32);
    INFO(dialect.name);
    const auto parts = plan_parts(spec);
    REQUIRE(parts.ok());
    CHECK((*parts)[0].bytes == 0);
  }
}
