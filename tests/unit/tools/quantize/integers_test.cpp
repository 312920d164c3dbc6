// Integer quantizers against the tools that they are named after.
#include <cmath>

#include "unit/tools/quantize/tool_data.h"

using namespace mm2;
using support::cases;
using support::counted_from_zero;
using support::Matrix;
using support::n_different;
using support::ToolFile;

namespace {

struct Made {
  std::vector<uint8_t> codes, zeros;
  std::vector<float> scales;
};

Status quantize(const Matrix& w, const IntOptions& options, Made& made) {
  const auto n_groups = static_cast<size_t>(w.n_rows * (w.n_cols / options.group_of(w.n_cols)));
  made = {std::vector<uint8_t>(w.size()), std::vector<uint8_t>(n_groups),
          std::vector<float>(n_groups)};
  return quantize_integers(w.rows(), options, made.codes.data(), made.scales.data(),
                           made.zeros.data());
}

Made quantized(const Matrix& w, const IntOptions& options) {
  Made made;
  const Status status = quantize(w, options, made);
  INFO(status.message());
  REQUIRE(status.ok());
  return made;
}

const ToolFile& inputs() {
  static const ToolFile file("quant/inputs.safetensors");
  return file;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

IntOptions options_of(const std::string& name, int64_t group) {
  IntOptions o;
  o.group = group;
  o.symmetric = !contains(name, "/asym/");
  if (name.ends_with("bf16")) o.arithmetic = Arithmetic::bf16;
  if (name.starts_with("ct/")) o.rule = IntRule::compressed_tensors;
  if (name.starts_with("gptqmodel/")) o.rule = IntRule::gptqmodel;
  if (contains(name, "opt_rtn")) o.rule = IntRule::auto_round_opt;
  if (contains(name, "gptq_style")) o.rule = IntRule::auto_round_gptq;
  return o;
}

// Every case of a file whose codes are there: codes, scales and zeros bit by bit.
int compare(const std::string& stem, const std::string& scale, const std::string& part) {
  const ToolFile file("quant/" + stem + ".safetensors");
  int n_compared = 0;
  for (const Json& c : cases("quant/" + stem + ".json")) {
    const auto name = c.at("case").get<std::string>();
    if (!file.has(name + "/codes") || !contains(name, part) || !c.contains("weights")) continue;
    INFO(name);
    const bool wide = contains(name, "w8_");
    IntOptions o = options_of(name, wide ? 128 : c.at("group").get<int64_t>());
    if (wide) o.bits = 8;
    std::vector<float> imatrix;
    if (contains(name, "_imatrix")) {
      const bool holes = contains(name, "_zeros");
      imatrix = inputs().floats(holes ? "int4/imatrix_with_zeros" : "int4/imatrix");
      o.imatrix = imatrix.data();
    }
    const Made made = quantized(Matrix(inputs(), c.at("weights").get<std::string>()), o);
    CHECK(n_different(made.codes, counted_from_zero(file, name + "/codes", o.bits)) == 0);
    CHECK(n_different(made.scales, file.floats(name + scale)) == 0);
    if (file.has(name + "/zero")) {
      CHECK(n_different(made.zeros, counted_from_zero(file, name + "/zero", o.bits)) == 0);
    }
    ++n_compared;
  }
  return n_compared;
}

}  // namespace

TEST_CASE("integers: AutoRound RTN, OPT-RTN and its GPTQ manner, F32 and BF16, bit by bit") {
  CHECK(compare("int4_autoround", "/scale", "") == 25);
}

TEST_CASE("integers: compressed-tensors of 4 and 8 bits, F32 and BF16, bit by bit") {
  CHECK(compare("int4_fp8_ct", "/weight_scale", "") == 10);
  CHECK(compare("fp4_ct", "/weight_scale", "w8_") == 2);
}

TEST_CASE("integers: GPTQModel's RTN bit by bit") {
  CHECK(compare("gptq_gptqmodel", "/scale_f32", "/rtn/") == 4);
}

TEST_CASE("integers: what is made of some rows does not depend on the others") {
  const Matrix w(inputs(), "int4/f32");
  for (const IntRule rule :
       {IntRule::auto_round, IntRule::compressed_tensors, IntRule::gptqmodel}) {
    const IntOptions o{.rule = rule, .symmetric = false};
    const Made whole = quantized(w, o);
    Made part = whole;
    std::fill(part.codes.begin(), part.codes.end(), uint8_t{0xEE});
    for (int64_t r = 0; r < w.n_rows; r += 5) {
      const int64_t n = std::min<int64_t>(5, w.n_rows - r);
      REQUIRE(quantize_integers(w.rows(r, n), o, part.codes.data() + r * w.n_cols,
                                part.scales.data() + r * 3, part.zeros.data() + r * 3)
                  .ok());
    }
    CHECK(part.codes == whole.codes);
    CHECK(part.scales == whole.scales);
    CHECK(part.zeros == whole.zeros);
  }
}

TEST_CASE("item 2: an all-zero group has a finite scale and codes that stand for 0") {
  const Matrix w(3, 64);
  for (const IntRule rule : {IntRule::auto_round, IntRule::auto_round_opt, IntRule::auto_round_gptq,
                             IntRule::compressed_tensors, IntRule::gptqmodel}) {
    for (const bool symmetric : {true, false}) {
      for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::bf16}) {
        const bool only = rule == IntRule::auto_round_opt || rule == IntRule::auto_round_gptq;
        if (only && !symmetric) continue;
        const Made made = quantized(
            w, {.rule = rule, .symmetric = symmetric, .group = 32, .arithmetic = arithmetic});
        INFO(static_cast<int>(rule) << symmetric);
        for (size_t g = 0; g < made.scales.size(); ++g) {
          CHECK(made.scales[g] > 0);
          CHECK(std::isfinite(made.scales[g]));
          for (size_t i = 0; i < 32; ++i) CHECK(made.codes[g * 32 + i] == made.zeros[g]);
        }
      }
    }
  }
}

TEST_CASE("integers: scales below what F32 holds in full become the smallest that it does") {
  Matrix w(1, 32);
  for (size_t i = 0; i < 32; ++i) w.values[i] = 1e-42f * static_cast<float>(i);
  for (const IntRule rule : {IntRule::compressed_tensors, IntRule::gptqmodel}) {
    const Made made = quantized(w, {.rule = rule, .group = 32});
    CHECK(made.scales[0] == 0x1p-126f);
  }
}

TEST_CASE("integers: a group whose largest is positive has a negative scale in AutoRound") {
  Matrix w(2, 8);
  w.values = {1, 0.5f, -0.25f, 0, 0, 0, 0, 0.125f, -1, 0.5f, -0.25f, 0, 0, 0, 0, 1};
  const Made made = quantized(w, {.group = 8});
  CHECK(made.scales == std::vector<float>{-0.125f, -0.125f});  // of two equal sizes too
  CHECK(made.codes[0] == 0);
  CHECK(made.codes[1] == 4);
  CHECK(made.codes[8] == 15);  // -1 / -0.125 is 8, which there is no code for
  CHECK(made.codes[15] == 0);
}

TEST_CASE("integers: NaN and infinity are refused with their place") {
  Matrix w(4, 64);
  w.values[2 * 64 + 33] = NAN;
  Made made;
  Status status = quantize(w, {.group = 32}, made);
  CHECK(status.code() == Code::numeric);
  CHECK(contains(status.message(), "[2, 33] is NaN"));
  w.values[2 * 64 + 33] = -INFINITY;
  status = quantize(w, {.rule = IntRule::gptqmodel, .group = 16}, made);
  CHECK(contains(status.message(), "[2, 33] is -infinity"));
}

TEST_CASE("integers: scales beyond F16, groups that do not divide and odd widths are refused") {
  Matrix w(1, 64);
  w.values[5] = 1e6f;
  Made made;
  Status status = quantize(w, {.group = 32}, made);
  CHECK(status.code() == Code::numeric);
  CHECK(contains(status.message(), "row 0, columns from 0"));
  CHECK(contains(status.message(), "above what F16 holds"));
  w.values[5] = 3e38f;
  w.values[6] = -3e38f;
  CHECK(quantize(w, {.rule = IntRule::gptqmodel, .group = 64}, made).code() == Code::numeric);
  CHECK(quantize(w, {.group = 48}, made).code() == Code::invalid_argument);
  CHECK(quantize(w, {.bits = 9, .group = 32}, made).code() == Code::invalid_argument);
  CHECK(quantize(w, {.rule = IntRule::auto_round_opt, .symmetric = false, .group = 32}, made)
            .code() == Code::invalid_argument);
  std::vector<float> imatrix(64, 1.0f);
  imatrix[9] = NAN;
  status =
      quantize(w, {.rule = IntRule::auto_round_opt, .group = 32, .imatrix = imatrix.data()}, made);
  CHECK(contains(status.message(), "column 9"));
}

TEST_CASE("integers: no rows, no columns, a group of one") {
  Made made;
  CHECK(quantize_integers({nullptr, 0, 64, 0}, {.group = 32}, nullptr, nullptr, nullptr).ok());
  CHECK(quantize_integers({nullptr, 4, 0, 0}, {.group = 32}, nullptr, nullptr, nullptr).ok());
  Matrix w(1, 3);
  w.values = {0.5f, -2, 0};
  made = quantized(w, {.rule = IntRule::gptqmodel, .group = 1});
  CHECK(made.scales.size() == 3);
}
