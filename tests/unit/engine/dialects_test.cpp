// Dialects that no golden model shows: a model is stored in each of them and must compute what the
// same numbers compute as plain F32.
#include <functional>
#include <numeric>

#include "kernels/api/numbers.h"
#include "support/edited.h"
#include "support/engine.h"
#include "support/stored_matrix.h"

using mm2::Dtype;
using mm2::Json;
using support::EditedModel;
using support::Stored;
using support::Truth;

namespace {

namespace kernels = mm2::kernels;

// A matrix as a dialect stores it, and its numbers.
struct Coded {
  Stored stored;
  std::vector<float> numbers;
};
using Dialect = std::function<Coded(const std::vector<float>& w, int64_t rows, int64_t cols)>;

float power_of_two_above(float x) {
  return std::ldexp(1.0f, static_cast<int>(std::ceil(std::log2(std::max(x, 1e-30f)))));
}

// Integers, rounded to nearest. Scales are powers of two, so that every number is exact in F32.
Truth integers(const std::vector<float>& w, int64_t rows, int64_t cols, int64_t group, int bits,
               bool symmetric, bool shuffled = false) {
  Truth t(rows, cols, group, bits);
  if (shuffled) t.shuffle();
  std::vector<float> size(static_cast<size_t>(rows * t.groups()));
  const auto group_at = [&](int64_t r, int64_t k) {
    return static_cast<size_t>(r * t.groups() + t.group_of[static_cast<size_t>(k)]);
  };
  for (int64_t i = 0; i < rows * cols; ++i) {
    float& s = size[group_at(i / cols, i % cols)];
    s = std::max(s, std::abs(w[static_cast<size_t>(i)]));
  }
  const int half = 1 << (bits - 1);
  for (size_t g = 0; g < size.size(); ++g) {
    t.scales[g] = power_of_two_above(size[g]) / static_cast<float>(half);
    t.zeros[g] = symmetric ? half : half - 2 + static_cast<int>(g % 4);
  }
  for (int64_t i = 0; i < rows * cols; ++i) {
    const size_t g = group_at(i / cols, i % cols);
    const int q =
        static_cast<int>(std::lround(w[static_cast<size_t>(i)] / t.scales[g])) + t.zeros[g];
    t.codes[static_cast<size_t>(i)] = std::clamp(q, 0, 2 * half - 1);
  }
  return t;
}

Coded coded(const Truth& t, const Stored& stored) {
  Coded c{stored, {}};
  for (int64_t i = 0; i < t.rows * t.cols; ++i)
    c.numbers.push_back(t.number(i / t.cols, i % t.cols));
  return c;
}

// E4M3 codes with a scale for each patch of rows x cols.
Coded fp8(const std::vector<float>& w, int64_t rows, int64_t cols, int64_t patch_rows,
          int64_t patch_cols, const char* suffix, Dtype dtype, bool scalar) {
  const int64_t down = (rows + patch_rows - 1) / patch_rows,
                across = (cols + patch_cols - 1) / patch_cols;
  std::vector<float> scales(static_cast<size_t>(down * across));
  const auto patch = [&](int64_t i) {
    return static_cast<size_t>(i / cols / patch_rows * across + i % cols / patch_cols);
  };
  for (int64_t i = 0; i < rows * cols; ++i) {
    scales[patch(i)] = std::max(scales[patch(i)], std::abs(w[static_cast<size_t>(i)]));
  }
  for (float& s : scales) s = power_of_two_above(s) / 256;
  Coded c;
  std::vector<uint8_t> codes;
  for (int64_t i = 0; i < rows * cols; ++i) {
    codes.push_back(kernels::f32_to_e4m3(w[static_cast<size_t>(i)] / scales[patch(i)]));
    c.numbers.push_back(kernels::e4m3_to_f32(codes.back()) * scales[patch(i)]);
  }
  c.stored.add(".weight", Dtype::f8_e4m3, {rows, cols}, codes);
  const mm2::Shape shape = scalar ? mm2::Shape{} : mm2::Shape{down, across};
  std::vector<uint16_t> bf16;
  std::vector<uint8_t> e8m0;
  for (const float s : scales) {
    bf16.push_back(kernels::f32_to_bf16(s));
    e8m0.push_back(static_cast<uint8_t>(kernels::bits_of(s) >> 23));
  }
  if (dtype == Dtype::f32) c.stored.add(suffix, dtype, shape, scales);
  if (dtype == Dtype::bf16) c.stored.add(suffix, dtype, shape, bf16);
  if (dtype == Dtype::u8) c.stored.add(suffix, dtype, shape, e8m0);
  return c;
}

bool is_quantised(const std::string& name) {
  if (!name.ends_with(".weight")) return false;
  return name.find(".experts.") != name.npos || name.find("_proj.") != name.npos;
}

std::vector<float> widened(const EditedModel::Tensor& tensor) {
  std::vector<float> w(tensor.bytes.size() / 2);
  for (size_t i = 0; i < w.size(); ++i) {
    uint16_t code;
    std::memcpy(&code, tensor.bytes.data() + 2 * i, 2);
    w[i] = kernels::bf16_to_f32(code);
  }
  return w;
}

// Stores every matrix of attention and experts in the dialect, and in `plain` its numbers.
void store(EditedModel& model, EditedModel& plain, const Dialect& dialect) {
  std::vector<EditedModel::Tensor> tensors;
  for (EditedModel::Tensor& tensor : model.tensors) {
    if (!is_quantised(tensor.name)) {
      tensors.push_back(tensor);
      continue;
    }
    const Coded c = dialect(widened(tensor), tensor.shape[0], tensor.shape[1]);
    const std::string stem = tensor.name.substr(0, tensor.name.size() - 7);
    for (const Stored::Tensor& part : c.stored.tensors) {
      tensors.push_back({stem + part.suffix, part.dtype, part.shape, part.bytes});
    }
    EditedModel::Tensor& twin = plain.at(tensor.name);
    twin.dtype = Dtype::f32;
    twin.bytes.assign(reinterpret_cast<const char*>(c.numbers.data()), c.numbers.size() * 4);
  }
  model.tensors = tensors;
}

std::vector<float> logits(EditedModel& model, mm2::Isa isa) {
  mm2::EngineOptions options{.n_threads = 2};
  if (isa != mm2::Isa::reference_f64) {
    options.activations = mm2::Activations::f32;
    options.kv_dtype = mm2::KvDtype::f32;
  }
  const auto engine = support::engine(support::load(model.save(), isa), options);
  return support::all_logits(*engine, 0, golden::prompts("bf16", "tight")[1].ids);
}

double max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(double{a[i]} - double{b[i]}));
  return most;
}

void compare(EditedModel& model, EditedModel& plain) {
  const auto want = logits(plain, mm2::Isa::reference_f64);
  // Every number is exact in F32, so both are FP64 sums of the same products: they differ by the
  // order of additions, far below the step of the stored F32.
  CHECK(max_difference(logits(model, mm2::Isa::reference_f64), want) <= 1e-6);
  // float32 in any order: the bound of golden_test.cpp.
  CHECK(max_difference(logits(model, mm2::Isa::automatic), want) <= 2e-4);
}

Json config_group(int bits, const char* type, const Json& group_size, bool symmetric) {
  return {
      {"targets", {"Linear"}},
      {"weights",
       {{"num_bits", bits}, {"type", type}, {"group_size", group_size}, {"symmetric", symmetric}}}};
}

Json compressed_tensors(const Json& group) {
  return {{"quant_method", "compressed-tensors"}, {"config_groups", {{"group_0", group}}}};
}

struct Named {
  const char* name;
  Json config;
  Dialect dialect;
};

}  // namespace

TEST_CASE("dialects: each one computes what its numbers compute as plain weights") {
  using W = const std::vector<float>&;
  const Named all[] = {
      {"mxfp8", compressed_tensors(config_group(8, "float", 32, true)),
       [](W w, int64_t r, int64_t c) {
         return fp8(w, r, c, 1, 32, ".weight_scale", Dtype::u8, false);
       }},
      {"fp8, a scale per row", compressed_tensors(config_group(8, "float", nullptr, true)),
       [](W w, int64_t r, int64_t c) {
         return fp8(w, r, c, 1, c, ".weight_scale", Dtype::bf16, false);
       }},
      {"fp8, groups of 64", compressed_tensors(config_group(8, "float", 64, true)),
       [](W w, int64_t r, int64_t c) {
         return fp8(w, r, c, 1, 64, ".weight_scale", Dtype::f32, false);
       }},
      {"fp8, one scale",
       {{"quant_method", "modelopt"}, {"quant_algo", "FP8"}},
       [](W w, int64_t r, int64_t c) {
         return fp8(w, r, c, r, c, ".weight_scale", Dtype::f32, true);
       }},
      {"fp8, blocks of 64x32",
       {{"quant_method", "fp8"}, {"weight_block_size", {64, 32}}},
       [](W w, int64_t r, int64_t c) {
         return fp8(w, r, c, 64, 32, ".weight_scale_inv", Dtype::f32, false);
       }},
      {"int8 of compressed-tensors, a scale per row",
       compressed_tensors(config_group(8, "int", nullptr, true)),
       [](W w, int64_t r, int64_t c) {
         const Truth t = integers(w, r, c, c, 8, true);
         return coded(t, int8(t, false));
       }},
      {"int8 of compressed-tensors, with zeros",
       compressed_tensors(config_group(8, "int", nullptr, false)),
       [](W w, int64_t r, int64_t c) {
         const Truth t = integers(w, r, c, c, 8, false);
         return coded(t, int8(t, true));
       }},
      {"W8A16 of compressed-tensors, group 128",
       compressed_tensors(config_group(8, "int", 128, true)),
       [](W w, int64_t r, int64_t c) {
         const Truth t = integers(w, r, c, 128, 8, true);
         return coded(t, ct_packed(t, false, false));
       }},
      {"W6 of compressed-tensors, widened to 8",
       compressed_tensors(config_group(6, "int", 64, true)),
       [](W w, int64_t r, int64_t c) {
         const Truth t = integers(w, r, c, 64, 6, true);
         return coded(t, ct_packed(t, false, false));
       }},
      {"W4 of compressed-tensors in the order of activations",
       [] {
         Json config = compressed_tensors(config_group(4, "int", 32, true));
         config["config_groups"]["group_0"]["weights"]["actorder"] = "group";
         return config;
       }(),
       [](W w, int64_t r, int64_t c) {
         const Truth t = integers(w, r, c, 32, 4, true, true);
         return coded(t, ct_packed(t, false, true));
       }},
      {"asymmetric AutoRound",
       {{"quant_method", "auto-round"},
        {"packing_format", "auto_round"},
        {"bits", 4},
        {"group_size", 128},
        {"sym", false}},
       [](W w, int64_t r, int64_t c) {
         const Truth t = integers(w, r, c, 128, 4, false);
         return coded(t, gptq(t, 0, false));
       }},
      {"asymmetric GPTQ of 8 bits in the order of activations",
       {{"quant_method", "gptq"},
        {"bits", 8},
        {"group_size", 64},
        {"sym", false},
        {"desc_act", true}},
       [](W w, int64_t r, int64_t c) {
         const Truth t = integers(w, r, c, 64, 8, false, true);
         return coded(t, gptq(t, 1, true));
       }},
      {"AWQ under the name of AutoRound",
       {{"quant_method", "auto-round"},
        {"packing_format", "auto_round:auto_awq"},
        {"bits", 4},
        {"group_size", 32},
        {"sym", false}},
       [](W w, int64_t r, int64_t c) {
         const Truth t = integers(w, r, c, 32, 4, false);
         return coded(t, awq(t));
       }},
  };
  for (const Named& named : all) {
    INFO(named.name);
    EditedModel model("bf16"), plain("bf16");
    model.quant() = named.config;
    store(model, plain, named.dialect);
    compare(model, plain);
  }
}

TEST_CASE("dialects: q, k and v in one FP8 matrix, whose blocks they share") {
  EditedModel model("bf16"), plain("bf16");
  model.quant() = {{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}};
  for (int layer = 0; layer < 2; ++layer) {
    const std::string stem = "model.layers." + std::to_string(layer) + ".self_attn.";
    std::vector<float> all;
    for (const char* last : {"q_proj", "k_proj", "v_proj"}) {
      const auto w = widened(model.at(stem + last + ".weight"));
      all.insert(all.end(), w.begin(), w.end());
      model.drop(stem + last);
    }
    // v begins in the middle of a block of k's.
    const Coded c = fp8(all, 512, 256, 128, 128, ".weight_scale_inv", Dtype::f32, false);
    for (const Stored::Tensor& part : c.stored.tensors) {
      model.add(stem + "qkv_proj" + part.suffix, part.dtype, part.shape, part.bytes);
    }
    size_t at = 0;
    for (const char* last : {"q_proj", "k_proj", "v_proj"}) {
      EditedModel::Tensor& twin = plain.at(stem + last + ".weight");
      const size_t n = twin.bytes.size() / 2;
      twin.dtype = Dtype::f32;
      twin.bytes.assign(reinterpret_cast<const char*>(c.numbers.data() + at), n * 4);
      at += n;
    }
  }
  compare(model, plain);
}
