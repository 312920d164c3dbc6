// FP8, NVFP4 and MX quantizers against the tools that they are named after.
#include <cmath>
#include <random>

#include "tensor/convert.h"
#include "unit/tools/quantize/tool_data.h"

using namespace mm2;
using coding::narrow;
using support::cases;
using support::Matrix;
using support::n_different;
using support::ToolFile;

namespace {

const ToolFile& inputs() {
  static const ToolFile file("quant/inputs.safetensors");
  return file;
}

struct Made {
  std::vector<uint8_t> codes, scale_codes;
  std::vector<float> scales;
  float global = 1;

  std::vector<uint8_t> packed() const {
    std::vector<uint8_t> bytes(codes.size() / 2);
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
    }
    return bytes;
  }
};

Made fp8(const Matrix& w, const Fp8Options& o) {
  const int64_t br = o.block_rows == 0 ? w.n_rows : o.block_rows;
  const int64_t bc = o.block_cols == 0 ? w.n_cols : o.block_cols;
  Made m;
  m.codes.resize(w.size());
  m.scales.resize(static_cast<size_t>((w.n_rows + br - 1) / br * ((w.n_cols + bc - 1) / bc)));
  const Status status = quantize_fp8(w.rows(), o, m.codes.data(), m.scales.data());
  INFO(status.message());
  REQUIRE(status.ok());
  return m;
}

Made nvfp4(const Matrix& w, const Nvfp4Options& o, float global = 0) {
  Made m;
  m.codes.resize(w.size());
  m.scale_codes.resize(w.size() / 16);
  m.global = global != 0 ? global : nvfp4_global_scale(*largest_size(w.rows()), o);
  const Status status = quantize_nvfp4(w.rows(), o, m.global, m.codes.data(), m.scale_codes.data());
  INFO(status.message());
  REQUIRE(status.ok());
  return m;
}

Made mx(const Matrix& w, const MxOptions& o) {
  Made m;
  m.codes.resize(w.size());
  m.scale_codes.resize(w.size() / 32);
  const Status status = quantize_mx(w.rows(), o, m.codes.data(), m.scale_codes.data());
  INFO(status.message());
  REQUIRE(status.ok());
  return m;
}

struct Kind {
  std::string name, type;
  Fp8Options options;
};

std::vector<Kind> kinds(Fp8Rule rule) {
  std::vector<Kind> all;
  for (const auto& [type, arithmetic] :
       {std::pair<std::string, Arithmetic>{"f32", Arithmetic::f32}, {"bf16", Arithmetic::bf16}}) {
    all.push_back({"tensor/" + type, type, {rule, 0, 0, arithmetic}});
    all.push_back({"channel/" + type, type, {rule, 1, 0, arithmetic}});
    all.push_back({"block/" + type, type, {rule, 128, 128, arithmetic}});
  }
  return all;
}

Matrix dequantized(const ToolFile& file, const std::string& stem) {
  Matrix m(file, stem + "/weight");
  const auto scales = file.floats(stem + "/weight_scale_inv");
  const int64_t n_blocks = (m.n_cols + 127) / 128;
  for (int64_t i = 0; i < m.n_rows * m.n_cols; ++i) {
    const int64_t block = i / m.n_cols / 128 * n_blocks + i % m.n_cols / 128;
    m.values[static_cast<size_t>(i)] *= scales[static_cast<size_t>(block)];
  }
  return m;
}

double relative_error(const Matrix& w, const Made& made, Nvfp4Rule rule) {
  double error = 0, all = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const float scale = e4m3_to_f32(made.scale_codes[i / 16]);
    const float by = rule == Nvfp4Rule::modelopt ? scale * made.global : scale / made.global;
    const double off = static_cast<double>(kernels::e2m1_to_f32(made.codes[i])) * by - w.values[i];
    error += off * off;
    all += static_cast<double>(w.values[i]) * w.values[i];
  }
  return std::sqrt(error / all);
}

}  // namespace

TEST_CASE("floats: FP8 of compressed-tensors by tensor, channel and block, bit by bit") {
  const ToolFile file("quant/int4_fp8_ct.safetensors");
  for (const Kind& k : kinds(Fp8Rule::compressed_tensors)) {
    INFO(k.name);
    const Made made = fp8(Matrix(inputs(), "fp8/" + k.type), k.options);
    const std::string stem = "ct/fp8_" + k.name;
    CHECK(n_different(made.codes, file.read<uint8_t>(stem + "/weight")) == 0);
    CHECK(n_different(made.scales, file.floats(stem + "/weight_scale")) == 0);
  }
}

TEST_CASE("item 2: ModelOpt's FP8 bit by bit, but 1 and codes of 0 where it writes 0 and NaN") {
  const ToolFile file("quant/fp4_fp8_modelopt.safetensors");
  for (const Kind& k : kinds(Fp8Rule::modelopt)) {
    INFO(k.name);
    const Matrix w(inputs(), "fp8/" + k.type);
    const Made made = fp8(w, k.options);
    const std::string stem = "modelopt/fp8_" + k.name;
    const auto codes = file.read<uint8_t>(stem + "/weight");
    const auto scales = file.floats(stem + "/weight_scale");
    REQUIRE(scales.size() == made.scales.size());
    int64_t n_wrong = 0;
    for (size_t i = 0; i < scales.size(); ++i) {
      n_wrong += made.scales[i] == (scales[i] == 0 ? 1 : scales[i]) ? 0 : 1;
    }
    for (size_t i = 0; i < codes.size(); ++i) {
      const bool none = (codes[i] & 0x7F) == 0x7F;
      n_wrong += none ? ((made.codes[i] & 0x7F) == 0 ? 0 : 1) : made.codes[i] == codes[i] ? 0 : 1;
    }
    CHECK(n_wrong == 0);
  }
}

TEST_CASE("item 3: FP8 blocks at the edges, by the rules of the public converters, bit by bit") {
  const ToolFile file("quant/int4_fp8_ct.safetensors");
  const std::pair<std::string, Fp8Rule> rules[] = {{"official_amax", Fp8Rule::amax},
                                                   {"deepgemm_style", Fp8Rule::deepgemm},
                                                   {"slime_style", Fp8Rule::slime},
                                                   {"ue8m0_ceil", Fp8Rule::ue8m0}};
  for (const auto& [name, rule] : rules) {
    INFO(name);
    const Matrix w(inputs(), "fp8/f32");  // [200, 330]
    const Made made = fp8(w, {rule});
    CHECK(n_different(made.codes, file.read<uint8_t>("block/" + name + "/weight")) == 0);
    CHECK(n_different(made.scales, file.floats("block/" + name + "/weight_scale_inv")) == 0);
    // The last rows of blocks on their own.
    Made part = made;
    REQUIRE(quantize_fp8(w.rows(128, 72), {rule}, part.codes.data() + 128 * w.n_cols,
                         part.scales.data() + 3)
                .ok());
    CHECK(part.codes == made.codes);
    CHECK(part.scales == made.scales);
  }
}

TEST_CASE("floats: merged FP8 parents, largest size and search for the least error, bit by bit") {
  const ToolFile file("fp8_merge/fp8_merge.safetensors");
  const Json figures = cases("fp8_merge/fp8_merge.json");
  const Matrix a = dequantized(file, "parent_a"), b = dequantized(file, "parent_b");
  CHECK(n_different(a.values, file.floats("parent_a/dequant")) == 0);
  for (const Json& c : figures) {
    const auto t = c.at("t").get<double>();
    INFO("t " << t);
    Matrix merged(a.n_rows, a.n_cols);
    for (size_t i = 0; i < merged.size(); ++i) {
      merged.values[i] = static_cast<float>(c.at("coef_a").get<double>() * a.values[i] +
                                            c.at("coef_b").get<double>() * b.values[i]);
    }
    std::string stem = t == 0.25   ? "t0.25"
                       : t == 0.5  ? "t0.5"
                       : t == 0.6  ? "t0.6"
                       : t == 0.85 ? "t0.85"
                                   : "";
    if (stem.empty()) stem = t == 0 ? "t0" : "t1";
    for (const auto& [name, rule] :
         {std::pair<std::string, Fp8Rule>{"amax", Fp8Rule::amax}, {"mse", Fp8Rule::mse}}) {
      const Made made = fp8(merged, {rule});
      CHECK(n_different(made.codes, file.read<uint8_t>(stem + "/" + name + "/weight")) == 0);
      CHECK(n_different(made.scales, file.floats(stem + "/" + name + "/weight_scale_inv")) == 0);
    }
  }
}

TEST_CASE(
    "floats: the search for an FP8 scale misses no candidate, whatever the weights are like") {
  // The search looks at F32 sums first and at exact ones only where those cannot decide. Here each
  // candidate is tried in long double; sums of 16384 squares in FP64 are right to 2^-39.
  std::mt19937 random(5);
  std::normal_distribution<float> bell(0, 1);
  const auto error_of = [](const Matrix& w, float scale) {
    long double sum = 0;
    for (const float x : w.values) {
      const float size = std::fabs(x);
      const auto d =
          static_cast<long double>(e4m3_to_f32(coding::e4m3_code(size / scale)) * scale) - size;
      sum += d * d;
    }
    return sum;
  };
  for (const int64_t cols : {128, 96, 100}) {
    for (int kind = 0; kind < 8; ++kind) {
      INFO("columns " << cols << ", kind " << kind);
      Matrix w(128, cols);
      for (float& x : w.values) {
        const float g = bell(random);
        x = kind == 0   ? 0.02f * g
            : kind == 1 ? std::exp2(4 * g)                       // sizes of many powers of two
            : kind == 2 ? 3e-21f * g                             // squares vanish in F32
            : kind == 3 ? 5e18f * g                              // and leave its range
            : kind == 4 ? 1e-9f * g                              // beside one outlier: small codes
            : kind == 5 ? e4m3_to_f32(coding::e4m3_code(9 * g))  // exact with a scale of 1
            : kind == 6 ? (g > 0 ? 1.0f : -1.0f)                 // one size
                        : std::ldexp(std::nearbyint(8 * g), -12);  // a coarse grid: many ties
      }
      if (kind == 4) w.values[77] = 1;
      if (kind == 5) w.values[3] = 448;
      const Made made = fp8(w, {Fp8Rule::mse});
      REQUIRE(made.scales.size() == 1);
      const long double chosen = error_of(w, made.scales[0]);
      float size = 0;
      for (const float x : w.values) size = std::max(size, std::fabs(x));
      for (int k = 0; k < 25; ++k) {
        const float scale = size / 448 * (static_cast<float>(92 + k) / 100.0f);
        CHECK(chosen <= error_of(w, scale) * (1 + 0x1p-38L));
      }
    }
  }
}

TEST_CASE("floats: FP8 and back gives the same codes and scales, through BF16 the same codes") {
  const ToolFile file("fp8_merge/fp8_merge.safetensors");
  Matrix a = dequantized(file, "parent_a");
  const Made again = fp8(a, {});
  CHECK(n_different(again.codes, file.read<uint8_t>("parent_a/weight")) == 0);
  CHECK(n_different(again.scales, file.floats("parent_a/weight_scale_inv")) == 0);
  for (float& x : a.values) x = narrow<Arithmetic::bf16>(x);
  const Made through = fp8(a, {});
  CHECK(n_different(through.codes, file.read<uint8_t>("parent_a/requant_bf16.weight")) == 0);
  CHECK(n_different(through.scales, file.floats("parent_a/requant_bf16.weight_scale_inv")) == 0);
}

TEST_CASE("floats: NVFP4 of compressed-tensors and ModelOpt, F32 and BF16, bit by bit") {
  const ToolFile ct("quant/fp4_ct.safetensors"), mo("quant/fp4_fp8_modelopt.safetensors");
  for (const std::string type : {"f32", "bf16"}) {
    INFO(type);
    const Matrix w(inputs(), "nvfp4/" + type);
    const Arithmetic arithmetic = type == "f32" ? Arithmetic::f32 : Arithmetic::bf16;
    Made made = nvfp4(w, {Nvfp4Rule::compressed_tensors, false, arithmetic});
    std::string stem = "ct/nvfp4/" + type;
    CHECK(n_different(made.packed(), ct.read<uint8_t>(stem + "/weight_packed")) == 0);
    CHECK(n_different(made.scale_codes, ct.read<uint8_t>(stem + "/weight_scale")) == 0);
    CHECK(n_different({made.global}, ct.floats(stem + "/weight_global_scale")) == 0);
    made = nvfp4(w, {Nvfp4Rule::modelopt, false, arithmetic});
    stem = "modelopt/nvfp4/" + type;
    CHECK(n_different(made.packed(), mo.read<uint8_t>(stem + "/weight")) == 0);
    CHECK(n_different(made.scale_codes, mo.read<uint8_t>(stem + "/weight_scale")) == 0);
    CHECK(n_different({made.global}, mo.floats(stem + "/weight_scale_2")) == 0);
  }
}

TEST_CASE("item 9: NVFP4 of tiny and huge weights, and one scale for w1 and w3") {
  const ToolFile file("quant/fp4_fp8_modelopt.safetensors");
  for (const std::string name : {"nvfp4/tiny", "nvfp4/huge"}) {
    INFO(name);
    const Made made = nvfp4(Matrix(file, "input/" + name), {});
    CHECK(n_different(made.packed(), file.read<uint8_t>("modelopt/" + name + "/weight")) == 0);
    CHECK(n_different(made.scale_codes, file.read<uint8_t>("modelopt/" + name + "/weight_scale")) ==
          0);
    CHECK(n_different({made.global}, file.floats("modelopt/" + name + "/weight_scale_2")) == 0);
  }
  const std::string shared = "modelopt/nvfp4_shared/";
  const Matrix w1(file, shared + "w1/input"), w3(file, shared + "w3/input");
  const float largest = std::max(*largest_size(w1.rows()), *largest_size(w3.rows()));
  const float global = nvfp4_global_scale(largest, {});
  for (const std::string which : {"w1", "w3"}) {
    const Made made = nvfp4(which == "w1" ? w1 : w3, {}, global);
    CHECK(n_different(made.packed(), file.read<uint8_t>(shared + which + "/weight")) == 0);
    CHECK(n_different(made.scale_codes, file.read<uint8_t>(shared + which + "/weight_scale")) == 0);
    CHECK(n_different({global}, file.floats(shared + which + "/weight_scale_2")) == 0);
  }
}

TEST_CASE("item 9: NVFP4 of zeros only, and of blocks below 2^-9 of the largest") {
  for (const Nvfp4Rule rule : {Nvfp4Rule::modelopt, Nvfp4Rule::compressed_tensors}) {
    for (const bool four : {false, true}) {
      const Nvfp4Options o{rule, four, Arithmetic::f32};
      Made made = nvfp4(Matrix(4, 32), o);
      CHECK(made.global == 1);
      for (const uint8_t scale : made.scale_codes) {
        CHECK(scale != 0);
        CHECK((scale & 0x7F) != 0x7F);
      }
      CHECK(std::count(made.codes.begin(), made.codes.end(), uint8_t{0}) == 4 * 32);

      Matrix w(1, 48);
      w.values[0] = 1;
      for (size_t i = 16; i < 32; ++i) w.values[i] = 1e-7f;  // the third block is zero
      made = nvfp4(w, o);
      for (const uint8_t scale : made.scale_codes) CHECK((scale & 0x7F) != 0x7F);
      CHECK(made.scale_codes[1] != 0);
      CHECK(made.scale_codes[2] != 0);
      for (size_t i = 16; i < 48; ++i) CHECK(made.codes[i] == 0);
    }
  }
  CHECK(nvfp4_global_scale(1e-40f, {}) == 0x1p-126f);
  CHECK(std::isfinite(nvfp4_global_scale(1e-40f, {Nvfp4Rule::compressed_tensors})));
  CHECK(std::isfinite(nvfp4_global_scale(3.4e38f, {})));
  CHECK(nvfp4_global_scale(3.4e38f, {Nvfp4Rule::compressed_tensors}) > 0);
}

TEST_CASE("floats: four over six never has more error in a block than six, and less in all") {
  // Weights of a normal distribution: measured elsewhere 0.0952 and 0.0870 relative to the weights.
  std::mt19937 generator(7);
  std::normal_distribution<float> normal(0, 0.02f);
  Matrix w(64, 1024);
  for (float& x : w.values) x = normal(generator);
  for (const Nvfp4Rule rule : {Nvfp4Rule::modelopt, Nvfp4Rule::compressed_tensors}) {
    const double six = relative_error(w, nvfp4(w, {rule, false}), rule);
    const double four = relative_error(w, nvfp4(w, {rule, true}), rule);
    // 65536 weights: the spread of such a figure is about 1 / sqrt(2 * 65536), 0.3 %
    CHECK(six == Approx(0.0952).epsilon(0.01));
    CHECK(four == Approx(0.0870).epsilon(0.01));
  }
}

TEST_CASE("floats: MXFP4 and MXFP8 of three tools, F32 and BF16, bit by bit") {
  const ToolFile ct("quant/fp4_ct.safetensors"), mo("quant/fp4_fp8_modelopt.safetensors");
  const auto compare = [](const ToolFile& file, const std::string& stem, const MxOptions& o,
                          const std::string& codes) {
    INFO(stem);
    const std::string type = stem.ends_with("bf16") ? "bf16" : "f32";
    const Made made = mx(Matrix(inputs(), "mxfp4/" + type), o);
    CHECK(n_different(o.bits == 4 ? made.packed() : made.codes, file.read<uint8_t>(stem + codes)) ==
          0);
    CHECK(n_different(made.scale_codes, file.read<uint8_t>(stem + "/weight_scale")) == 0);
  };
  for (const std::string type : {"/f32", "/bf16"}) {
    for (const int bits : {4, 8}) {
      const std::string codes = bits == 4 ? "/weight_packed" : "/weight";
      const std::string stem = "mxfp" + std::to_string(bits);
      compare(ct, "ct/" + stem + type, {MxRule::compressed_tensors, bits}, codes);
      compare(ct, "autoround/" + stem + type, {MxRule::auto_round, bits}, codes);
      compare(ct, "autoround/" + stem + "_opt_rtn" + type, {MxRule::auto_round_opt, bits}, codes);
    }
    compare(mo, "modelopt/mxfp4" + type, {MxRule::modelopt, 4}, "/weight");
  }
}

TEST_CASE("floats: NaN and infinity are refused with their place, odd sizes with their numbers") {
  Matrix w(3, 64);
  w.values[64 + 40] = NAN;
  std::vector<uint8_t> codes(w.size()), scales(w.size());
  std::vector<float> floats(w.size());
  const auto refused = [](const Status& status) {
    CHECK(status.code() == Code::numeric);
    CHECK(status.message().find("[1, 40] is NaN") != std::string::npos);
  };
  refused(quantize_fp8(w.rows(), {}, codes.data(), floats.data()));
  refused(quantize_fp8(w.rows(), {Fp8Rule::mse}, codes.data(), floats.data()));
  refused(quantize_nvfp4(w.rows(), {}, 1, codes.data(), scales.data()));
  refused(quantize_mx(w.rows(), {}, codes.data(), scales.data()));
  refused(largest_size(w.rows()).status());
  const Matrix odd(2, 40);
  const auto impossible = [](const Status& status) {
    CHECK(status.code() == Code::invalid_argument);
  };
  impossible(quantize_nvfp4(odd.rows(), {}, 1, codes.data(), scales.data()));
  impossible(quantize_mx(odd.rows(), {}, codes.data(), scales.data()));
  impossible(quantize_nvfp4(w.rows(), {}, 0, codes.data(), scales.data()));
  impossible(quantize_nvfp4(w.rows(), {}, NAN, codes.data(), scales.data()));
  impossible(quantize_mx(w.rows(), {MxRule::modelopt, 8}, codes.data(), scales.data()));
  impossible(quantize_mx(w.rows(), {MxRule::auto_round, 6}, codes.data(), scales.data()));
  impossible(quantize_fp8(w.rows(), {Fp8Rule::amax, -1, 128}, codes.data(), floats.data()));
}

TEST_CASE("item 2: FP8 and MX of zeros, and of weights below all scales, are finite") {
  for (const float value : {0.0f, 1e-44f}) {
    Matrix w(2, 64);
    std::fill(w.values.begin(), w.values.end(), value);
    for (const Fp8Rule rule : {Fp8Rule::amax, Fp8Rule::mse, Fp8Rule::ue8m0, Fp8Rule::deepgemm,
                               Fp8Rule::slime, Fp8Rule::compressed_tensors, Fp8Rule::modelopt}) {
      const Made made = fp8(w, {rule});
      CHECK(made.scales[0] >= 0x1p-126f);
      CHECK(std::isfinite(made.scales[0]));
      for (const uint8_t code : made.codes) CHECK((code & 0x7F) == 0);
    }
    for (const MxRule rule : {MxRule::compressed_tensors, MxRule::auto_round, MxRule::modelopt}) {
      const Made made = mx(w, {rule});
      for (const uint8_t code : made.codes) CHECK((code & 7) == 0);
      for (const uint8_t scale : made.scale_codes) CHECK(scale != 0xFF);
    }
  }
}
