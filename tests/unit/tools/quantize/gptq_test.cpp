// GPTQ against both tools, and AWQ's search.
#include "tools/quantize/gptq.h"

#include <cmath>
#include <random>

#include "tools/quantize/awq.h"
#include "unit/tools/quantize/packing.h"

using namespace mm2;
using namespace support;

namespace {

struct Made {
  std::vector<uint8_t> codes, zeros;
  std::vector<float> scales;
  std::vector<int32_t> map;
};

const ToolFile& inputs() {
  static const ToolFile file("quant/inputs.safetensors");
  return file;
}

HessianFactor factored(const std::vector<float>& hessian, int64_t n,
                       const HessianOptions& options) {
  auto factor = factor_hessian(hessian, n, options);
  INFO(factor.status().message());
  REQUIRE(factor.ok());
  return *std::move(factor);
}

Made rounded(const WeightRows& rows, const HessianFactor& factor, const GptqOptions& options) {
  const auto n_groups =
      static_cast<size_t>(rows.n_rows * (options.group == 0 ? 1 : rows.n_cols / options.group));
  Made made{std::vector<uint8_t>(static_cast<size_t>(rows.n_rows * rows.n_cols)),
            std::vector<uint8_t>(n_groups),
            std::vector<float>(n_groups),
            {}};
  const Status status = quantize_gptq(rows, factor, options, made.codes.data(), made.scales.data(),
                                      made.zeros.data());
  INFO(status.message());
  REQUIRE(status.ok());
  made.map = gptq_group_map(factor, options);
  return made;
}

// Of the outputs, relative: e H e' / w H w' over all rows.
double output_error(const Matrix& w, const std::vector<float>& hessian, const Made& made,
                    const GptqOptions& options) {
  PackSpec spec = spec_of("ct_packed", w.n_rows, w.n_cols, options.group, options.symmetric);
  CodedWhole whole;
  whole.codes = made.codes;
  whole.zeros = made.zeros;
  whole.scales = made.scales;
  whole.group_map = made.map;
  std::vector<float> numbers(w.size());
  dequantize_coded(spec, whole.rows(w.n_rows), numbers.data());
  const auto n = static_cast<size_t>(w.n_cols);
  double error = 0, all = 0;
  for (size_t r = 0; r < static_cast<size_t>(w.n_rows); ++r) {
    for (size_t i = 0; i < n; ++i) {
      const double wi = w.values[r * n + i], ei = numbers[r * n + i] - wi;
      for (size_t j = 0; j < n; ++j) {
        const double wj = w.values[r * n + j], ej = numbers[r * n + j] - wj;
        error += ei * hessian[i * n + j] * ej;
        all += wi * hessian[i * n + j] * wj;
      }
    }
  }
  return error / all;
}

double share(int64_t n, size_t of) {
  return static_cast<double>(n) / static_cast<double>(of);
}

}  // namespace

TEST_CASE("gptq: GPTQModel's codes within 1 %, scales and output error, ordered and not") {
  const ToolFile file("quant/gptq_gptqmodel.safetensors");
  const Matrix w(inputs(), "gptq/weight");
  const auto hessian = inputs().floats("gptq/hessian");
  int n_cases = 0;
  for (const Json& c : cases("quant/gptq_gptqmodel.json")) {
    const auto name = c.at("case").get<std::string>();
    if (!contains(name, "/gptq/")) continue;
    INFO(name);
    const GptqOptions options{.rule = GptqRule::gptqmodel,
                              .symmetric = c.at("sym").get<bool>(),
                              .group = c.at("group").get<int64_t>(),
                              .mse_norm = c.at("mse").get<double>()};
    const HessianFactor factor = factored(
        hessian, 256,
        {.damp = c.at("damp_percent").get<double>(),
         .order = c.at("desc_act").get<bool>() ? ColumnOrder::columns : ColumnOrder::natural});
    CHECK(factor.damp == c.at("damp_used").get<double>());
    const Made made = rounded(w.rows(), factor, options);
    const int64_t n = n_different(made.codes, file.read<uint8_t>(name + "/codes"));
    // The negative largest weight of a group lies on a tie, w / scale = -7.5, but for rounding: which
    // way it goes decides about the rest of the row.
    CHECK(share(n, made.codes.size()) <= 0.01);
    const auto scales = file.floats(name + "/scale_f32");
    for (size_t i = 0; i < scales.size(); ++i) {
      // a code that differs changes the weights behind it, and so later scales
      CHECK(made.scales[i] == Approx(scales[i]).epsilon(n == 0 ? 1e-5 : 0.01));
    }
    CHECK(output_error(w, hessian, made, options) ==
          Approx(c.at("relative_output_error").get<double>()).epsilon(0.01));
    if (factor.order[0] != 0) {
      CHECK(made.map == file.read<int32_t>(name + "/g_idx"));
    } else {
      CHECK(made.map.empty());
    }
    ++n_cases;
  }
  CHECK(n_cases == 7);
}

TEST_CASE("gptq: llm-compressor's codes, scales beforehand, ordered columns in their own groups") {
  const ToolFile file("quant/gptq_llmcompressor.safetensors");
  const Matrix w(inputs(), "gptq/weight");
  const auto hessian = inputs().floats("gptq/hessian");
  int n_cases = 0;
  for (const Json& c : cases("quant/gptq_llmcompressor.json")) {
    const auto name = c.at("case").get<std::string>();
    INFO(name);
    const GptqOptions options{.rule = GptqRule::llm_compressor,
                              .symmetric = contains(name, "/sym/"),
                              .group = c.at("group").get<int64_t>()};
    const HessianFactor factor = factored(
        hessian, 256,
        {.rule = GptqRule::llm_compressor,
         .damp = c.at("percdamp").get<double>(),
         .order = contains(name, "act_None") ? ColumnOrder::natural : ColumnOrder::columns});
    const Made made = rounded(w.rows(), factor, options);
    CHECK(n_different(made.codes, counted_from_zero(file, name + "/codes", 4)) == 0);
    CHECK(n_different(made.scales, file.floats(name + "/weight_scale")) == 0);
    CHECK(made.map.empty());
    const double error = output_error(w, hessian, made, options);
    CHECK(error == Approx(c.at("relative_output_error").get<double>()).epsilon(0.01));
    CHECK(error < c.at("relative_output_error_rtn").get<double>());
    ++n_cases;
  }
  CHECK(n_cases == 6);
}

TEST_CASE(
    "gptq: columns by importance in groups that stay: the natural order of permuted columns") {
  const Matrix w(inputs(), "gptq/weight");
  const auto hessian = inputs().floats("gptq/hessian");
  constexpr int64_t kGroup = 32;
  const HessianFactor factor =
      factored(hessian, 256, {.order = ColumnOrder::groups, .group = kGroup});
  // Groups by their largest diagonal, columns of each by theirs; groups stay together.
  std::vector<double> diagonal;
  for (size_t c = 0; c < 256; ++c) diagonal.push_back(c == 5 ? 1 : hessian[c * 257]);
  const auto at = [&](size_t place) { return diagonal[static_cast<size_t>(factor.order[place])]; };
  std::vector<int> seen(256, 0);
  for (size_t c = 0; c < 256; ++c) {
    ++seen[static_cast<size_t>(factor.order[c])];
    if (c % kGroup != 0) {
      CHECK(factor.order[c] / kGroup == factor.order[c - 1] / kGroup);
      CHECK(at(c) <= at(c - 1));
    } else if (c != 0) {
      CHECK(at(c) <= at(c - kGroup));
    }
  }
  CHECK(std::count(seen.begin(), seen.end(), 1) == 256);

  // The same as moving the columns beforehand and rounding in their order.
  Matrix moved(w.n_rows, 256);
  std::vector<float> moved_hessian(256 * 256);
  for (size_t c = 0; c < 256; ++c) {
    const auto from = static_cast<size_t>(factor.order[c]);
    for (size_t r = 0; r < static_cast<size_t>(w.n_rows); ++r) {
      moved.values[r * 256 + c] = w.values[r * 256 + from];
    }
    for (size_t d = 0; d < 256; ++d) {
      moved_hessian[c * 256 + d] = hessian[from * 256 + static_cast<size_t>(factor.order[d])];
    }
  }
  const GptqOptions options{.symmetric = false, .group = kGroup};
  const Made made = rounded(w.rows(), factor, options);
  const Made want = rounded(moved.rows(), factored(moved_hessian, 256, {}), options);
  CHECK(made.map.empty());
  int64_t n_wrong = 0;
  for (size_t r = 0; r < static_cast<size_t>(w.n_rows); ++r) {
    for (size_t c = 0; c < 256; ++c) {
      const auto column = static_cast<size_t>(factor.order[c]);
      n_wrong += made.codes[r * 256 + column] != want.codes[r * 256 + c];
      const size_t to = r * 8 + column / kGroup, from = r * 8 + c / kGroup;
      n_wrong += made.scales[to] != want.scales[from] || made.zeros[to] != want.zeros[from];
    }
  }
  CHECK(n_wrong == 0);
  const Made natural = rounded(w.rows(), factored(hessian, 256, {}), options);
  CHECK(output_error(w, hessian, made, options) < output_error(w, hessian, natural, options));
  const auto refused = factor_hessian(hessian, 256, {.order = ColumnOrder::groups, .group = 48});
  CHECK(refused.status().code() == Code::invalid_argument);
}

TEST_CASE("gptq: rows do not depend on their neighbours, a block of one, a whole row as a group") {
  const Matrix w(inputs(), "gptq/weight");
  const auto hessian = inputs().floats("gptq/hessian");
  const HessianFactor factor = factored(hessian, 256, {.order = ColumnOrder::columns});
  for (const GptqRule rule : {GptqRule::gptqmodel, GptqRule::llm_compressor}) {
    const GptqOptions options{.rule = rule, .symmetric = false, .group = 32};
    const Made whole = rounded(w.rows(), factor, options);
    const Made part = rounded(w.rows(11, 9), factor, options);
    CHECK(std::equal(part.codes.begin(), part.codes.end(), whole.codes.begin() + 11 * 256));
    CHECK(std::equal(part.scales.begin(), part.scales.end(), whole.scales.begin() + 11 * 8));
    CHECK(std::equal(part.zeros.begin(), part.zeros.end(), whole.zeros.begin() + 11 * 8));
    rounded(w.rows(0, 3), factor, {.rule = rule, .group = 0, .block = 1});
  }
}

TEST_CASE("gptq: the factor is that of the inverse, damping grows until the Hessian is definite") {
  const auto hessian = inputs().floats("gptq/hessian");
  const HessianFactor f = factored(hessian, 256, {.order = ColumnOrder::columns});
  CHECK(f.dead[5] == 1);
  double mean = 0;
  for (size_t i = 0; i < 256; ++i) mean += (i == 5 ? 1 : hessian[i * 257]) / 256.0;
  // U' U H = 1: row by row of U' U times the damped Hessian in the order of rounding.
  double worst = 0;
  for (size_t i = 0; i < 256; i += 17) {
    std::vector<double> inverse(256, 0.0);
    for (size_t k = 0; k <= i; ++k) {
      for (size_t j = k; j < 256; ++j) inverse[j] += f.upper[k * 256 + i] * f.upper[k * 256 + j];
    }
    for (size_t c = 0; c < 256; ++c) {
      double sum = 0;
      for (size_t k = 0; k < 256; ++k) {
        const auto a = static_cast<size_t>(f.order[k]), b = static_cast<size_t>(f.order[c]);
        const double h =
            a == b ? (a == 5 ? 1 : hessian[a * 257]) + 0.01 * mean : hessian[a * 256 + b];
        sum += inverse[k] * h;
      }
      worst = std::max(worst, std::fabs(sum - (i == c ? 1 : 0)));
    }
  }
  CHECK(worst < 1e-10);  // the Hessian's condition is about 1e4

  std::vector<float> indefinite{1, 1.015f, 1.015f, 1};
  CHECK(factored(indefinite, 2, {.damp = 0}).damp == Approx(0.02));
  auto refused = factor_hessian(indefinite, 2, {.damp = 0, .damp_increment = 0});
  CHECK(refused.status().code() == Code::numeric);
  indefinite[1] = indefinite[2] = 50;
  CHECK(factor_hessian(indefinite, 2, {}).status().code() == Code::numeric);
  indefinite[1] = NAN;
  CHECK(contains(factor_hessian(indefinite, 2, {}).status().message(), "[0, 1]"));
  CHECK(factor_hessian({}, 2, {}).status().code() == Code::invalid_argument);
  CHECK(factor_hessian({}, 0, {}).ok());
}

TEST_CASE("gptq: NaN, other widths and groups that do not divide are refused") {
  const HessianFactor factor = factored(std::vector<float>{1, 0, 0, 1}, 2, {});
  std::vector<uint8_t> codes(16), zeros(16);
  std::vector<float> scales(16);
  Matrix w(2, 2);
  const auto run = [&](const WeightRows& rows, const GptqOptions& options) {
    return quantize_gptq(rows, factor, options, codes.data(), scales.data(), zeros.data());
  };
  CHECK(run(w.rows(), {.group = 2}).ok());
  CHECK(scales[0] == Approx(2 / 15.0));  // a group of zeros
  CHECK(run(w.rows(), {.group = 3}).code() == Code::invalid_argument);
  CHECK(run(Matrix(2, 4).rows(), {.group = 2}).code() == Code::invalid_argument);
  CHECK(run(w.rows(), {.bits = 1, .group = 2}).code() == Code::invalid_argument);
  w.values[3] = NAN;
  CHECK(contains(run(w.rows(), {.group = 2}).message(), "[1, 1] is NaN"));
}

TEST_CASE("awq: llm-compressor's search, its losses, its choice and its scales") {
  const ToolFile file("quant/awq.safetensors");
  const Matrix w1(file, "awq/w1"), w3(file, "awq/w3");
  const auto x = file.floats("awq/x");
  const WeightRows both[] = {w1.rows(), w3.rows()};
  for (const Json& c : cases("quant/awq.json")) {
    INFO(c.at("case").get<std::string>());
    const AwqOptions options{.parent = AwqParent::gated,
                             .duo = c.at("duo_scaling").get<bool>(),
                             .codes = {.rule = IntRule::compressed_tensors,
                                       .symmetric = c.at("symmetric").get<bool>(),
                                       .group = c.at("group").get<int64_t>()}};
    const auto choice = awq_search(both, x, options);
    INFO(choice.status().message());
    REQUIRE(choice.ok());
    const auto losses = c.at("losses").get<std::vector<double>>();
    REQUIRE(choice->losses.size() == losses.size());
    for (size_t i = 0; i < losses.size(); ++i) {
      CHECK(choice->losses[i] == Approx(losses[i]).epsilon(1e-5));
    }
    CHECK(choice->ratio == c.at("best_ratio").get<double>());
    const auto scales = file.floats(c.at("case").get<std::string>() + "/best_scale");
    for (size_t i = 0; i < scales.size(); ++i) {
      CHECK(static_cast<float>(choice->scales[i]) == Approx(scales[i]).epsilon(1e-7));
    }
  }
}

TEST_CASE("awq: a linear parent, and what is refused") {
  const ToolFile file("quant/awq.safetensors");
  const Matrix w1(file, "awq/w1");
  auto x = file.floats("awq/x");
  const WeightRows one[] = {w1.rows()};
  const AwqOptions linear{.codes = {.rule = IntRule::compressed_tensors, .group = 32}};
  const auto choice = awq_search(one, x, linear);
  REQUIRE(choice.ok());
  CHECK(choice->loss < choice->losses[0]);  // better than leaving channels as they are
  // With the moments of these inputs, the loss is that of the outputs.
  const auto n = static_cast<size_t>(w1.n_cols);
  std::vector<float> moments(n * n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      double sum = 0;
      for (size_t t = 0; t < x.size() / n; ++t) sum += double{x[t * n + i]} * x[t * n + j];
      moments[i * n + j] = static_cast<float>(sum);
    }
  }
  const auto by_moments = awq_moment_loss(w1.rows(), choice->scales, linear.codes, moments);
  REQUIRE(by_moments.ok());
  const auto n_outputs = static_cast<double>(x.size() / n * static_cast<size_t>(w1.n_rows));
  CHECK(*by_moments / n_outputs == Approx(choice->loss).epsilon(1e-4));  // moments are F32
  moments.pop_back();
  CHECK(awq_moment_loss(w1.rows(), choice->scales, linear.codes, moments).status().code() ==
        Code::invalid_argument);
  CHECK(awq_search({}, x, linear).status().code() == Code::invalid_argument);
  AwqOptions gated = linear;
  gated.parent = AwqParent::gated;
  CHECK(awq_search(one, x, gated).status().code() == Code::invalid_argument);
  AwqOptions odd = linear;
  odd.codes.group = 48;
  CHECK(awq_search(one, x, odd).status().code() == Code::invalid_argument);
  x[7] = INFINITY;
  CHECK(awq_search(one, x, linear).status().code() == Code::numeric);
  x.pop_back();
  CHECK(awq_search(one, x, linear).status().code() == Code::invalid_argument);
}
