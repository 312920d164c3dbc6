#include "tools/quantize_plan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "base/glob.h"
#include "base/vector_code.h"
#include "tensor/convert.h"
#include "tools/writing.h"

namespace mm2 {
namespace {

constexpr double kNvfp4Range = 6.0 * 448.0;

bool is_attention(Role role) {
  return role >= Role::q_proj && role <= Role::o_proj;
}

// Matrices with the same inputs have the same key.
std::string set_key(const ViewWeight& weight) {
  const Role role = weight.place.role;
  const char* in = role == Role::o_proj ? "o"
                   : is_attention(role) ? "qkv"
                   : role == Role::w2   ? "w2"
                                        : "w13";
  return join(weight.place.layer, in, weight.place.expert);
}

// The name of its inputs in calibration statistics.
const char* input_name(Role role) {
  return role == Role::o_proj ? "o_in"
         : is_attention(role) ? "attention_in"
         : role == Role::w2   ? "w2_in"
                              : "w1_in";
}

// Tokens that the sums of these inputs are over.
Result<double> n_inputs(const CalibrationStats& stats, const WeightPlace& place) {
  if (place.expert < 0) {
    MM2_ASSIGN_OR_RETURN(const auto tokens, stats.row(place.layer, "tokens", -1));
    return tokens[0];
  }
  MM2_ASSIGN_OR_RETURN(const auto tokens, stats.numbers(place.layer, "expert_tokens"));
  return tokens[static_cast<size_t>(place.expert)];
}

Result<std::vector<float>> input_sums(const CalibrationStats& stats, const WeightPlace& place,
                                      const char* kind, size_t wanted, double scale) {
  const std::string what = join(input_name(place.role), ".", kind);
  MM2_ASSIGN_OR_RETURN(const auto sums, stats.row(place.layer, what, place.expert));
  if (sums.size() != wanted) {
    return error(Code::invalid_argument, "statistics of layer ", place.layer, ": ", what, " has ",
                 sums.size(), " numbers, ", place.name, " wants ", wanted);
  }
  std::vector<float> narrow(sums.size());
  for (size_t i = 0; i < sums.size(); ++i) narrow[i] = static_cast<float>(sums[i] * scale);
  return narrow;
}

bool wants_imatrix(const QuantRecipe& recipe) {
  const auto* ints = std::get_if<IntOptions>(&recipe.rule);
  return ints != nullptr && ints->rule == IntRule::auto_round_opt && !recipe.gptq;
}

Json error_json(const QuantFigures& figures) {
  const ErrorReport r = figures.error.report();
  Json json = {{"relative_l2", r.relative_l2},     {"one_minus_cosine", r.one_minus_cosine},
               {"largest_error", r.largest_error}, {"block_p50", r.block_p50},
               {"block_p99", r.block_p99},         {"n_saturated", figures.codes.n_saturated},
               {"n_zero_blocks", r.n_zero_blocks}, {"identical", r.identical}};
  if (r.norm_ratio) json["norm_ratio"] = *r.norm_ratio;
  if (r.sqnr_db) json["sqnr_db"] = *r.sqnr_db;
  return json;
}

}  // namespace

Status QuantizePlan::check_stats() const {
  const QuantRecipe& recipe = options_.choice.recipe;
  if (options_.stats == nullptr) {
    if (!recipe.gptq && !options_.choice.awq) return {};
    return error(Code::invalid_argument, "quantize: algo ", recipe.gptq ? "gptq" : "awq",
                 " wants stats: what calibrate --collect ", recipe.gptq ? "hessian" : "imatrix",
                 " wrote");
  }
  const CalibrationStats& stats = *options_.stats;
  const ModelConfig& c = view_.config();
  if (stats.n_layers() != c.n_layers || stats.n_experts() != c.n_experts) {
    return error(Code::invalid_argument, "quantize: stats are of ", stats.n_layers(),
                 " layers and ", stats.n_experts(), " experts, the model has ", c.n_layers, " and ",
                 c.n_experts);
  }
  if (recipe.gptq && !stats.has(0, "w1_in.hessian")) {
    return error(Code::invalid_argument,
                 "quantize: algo gptq wants Hessians, the stats have none: calibrate --collect "
                 "hessian");
  }
  if (options_.choice.awq && !stats.has(0, "w1_in.sizes")) {
    return error(Code::invalid_argument,
                 "quantize: algo awq wants sizes of inputs, the stats have none: calibrate "
                 "--collect imatrix");
  }
  return {};
}

bool QuantizePlan::takes(const ViewWeight& weight) const {
  const bool attention = is_attention(weight.place.role);
  if (options_.only == "experts" && attention) return false;
  if (options_.only == "attention" && !attention) return false;
  const std::string module = module_name(weight);
  return std::none_of(options_.ignore.begin(), options_.ignore.end(),
                      [&](const std::string& glob) { return matches_glob(module, glob); });
}

// A norm or router that AWQ changed: a norm in its type; a router, whose choices decide most, in F32.
void QuantizePlan::add_plain(const ViewWeight& weight) {
  const WeightPlace& place = weight.place;
  const Dtype dtype = place.role == Role::router ? Dtype::f32 : weight.description.dtype();
  const auto n = static_cast<size_t>(place.n_rows() * place.n_cols());
  Piece piece;
  piece.outputs = {{plan_.add(place.name, dtype, place.shape), 0,
                    n * static_cast<size_t>(dtype_bits(dtype) / 8)}};
  piece.bytes_read = CheckpointView::bytes_of_rows(weight, place.n_rows());
  piece.scratch = n * sizeof(float);
  piece.run = [this, &weight, dtype, n](PieceRun& run) -> Status {
    auto* numbers = reinterpret_cast<float*>(run.scratch.data());
    MM2_RETURN_IF_ERROR(folding_.rows(view_, weight, 0, weight.place.n_rows(), numbers));
    std::byte* to = run.outputs[0].data();
    for (size_t i = 0; i < n; ++i) {
      if (dtype == Dtype::f32) {
        std::memcpy(to + i * 4, &numbers[i], 4);
      } else {
        const uint16_t bits =
            dtype == Dtype::bf16 ? f32_to_bf16(numbers[i]) : f32_to_f16(numbers[i]);
        std::memcpy(to + i * 2, &bits, 2);
      }
    }
    return {};
  };
  plan_.pieces.push_back(std::move(piece));
}

Status QuantizePlan::run(const Host& host) {
  MM2_RETURN_IF_ERROR(check_stats());
  if (options_.choice.awq && options_.executor != nullptr) {
    MM2_ASSIGN_OR_RETURN(
        folding_,
        AwqFolding::find(
            view_, *options_.stats, std::get<IntOptions>(options_.choice.recipe.rule),
            [this](const ViewWeight& weight) { return takes(weight); }, *options_.executor, host));
  }
  written_.n_layers = view_.config().n_layers;
  written_.spec.dialect = options_.choice.recipe.dialect;
  // Matrices of a set may be apart in the order of the model: w2 comes between w1 and w3.
  std::map<std::string, std::shared_ptr<Set>> open;
  for (const ViewWeight& weight : view_.weights()) {
    if (is_tied(view_, weight)) continue;
    if (folding_.changes(weight) && !is_linear(weight.place.role)) {
      add_plain(weight);
      continue;
    }
    if (!is_linear(weight.place.role)) {
      MM2_RETURN_IF_ERROR(carry_over(view_, weight, plan_));
      continue;
    }
    if (!takes(weight)) {
      written_.plain.push_back(module_name(weight));
      if (weight.description.is_plain()) {
        MM2_RETURN_IF_ERROR(carry_over(view_, weight, plan_));
      } else {
        plan_numbers(view_, weight, Dtype::bf16, false, plan_);
      }
      continue;
    }
    std::shared_ptr<Set>& set = open[set_key(weight)];
    if (set == nullptr) set = std::make_shared<Set>();
    set_ = set;
    MM2_RETURN_IF_ERROR(add_matrix(weight));
    const size_t whole = weight.place.role == Role::o_proj || weight.place.role == Role::w2 ? 1
                         : is_attention(weight.place.role)                                  ? 3
                                                                                            : 2;
    if (set->size() == whole) {
      finish_set();
      open.erase(set_key(weight));
    }
  }
  for (auto& [key, set] : open) {  // sets of which some matrices are left out
    set_ = set;
    finish_set();
  }
  for (const TensorInfo* tensor : view_.others()) carry_over(view_, *tensor, plan_);
  if (const auto words = view_.config_json().find("quantization_config");
      words != view_.config_json().end() && words->is_object()) {
    written_.kv_cache_scheme = words->value("kv_cache_scheme", Json());
  }
  if (n_quantized_ == 0) {
    return error(Code::invalid_argument, "quantize: no matrix is left to quantize");
  }
  if (options_.errors) report_errors(plan_);
  return {};
}

Status QuantizePlan::add_matrix(const ViewWeight& weight) {
  Member member;
  member.weight = &weight;
  const auto named = [&](Status status) { return std::move(status).in(weight.place.name); };
  auto spec = recipe_spec(options_.choice.recipe, weight.place.n_rows(), weight.place.n_cols());
  if (!spec.ok()) return named(spec.status());
  auto parts = plan_parts(*spec);
  if (!parts.ok()) return named(parts.status());
  member.spec = *spec;
  member.parts = *std::move(parts);
  for (const PlannedPart& part : member.parts) {
    member.tensors.push_back(plan_.add(module_name(weight) + part.suffix, part.dtype, part.shape));
  }
  add_input_scale(weight, member);
  if (n_quantized_++ == 0) written_.spec = member.spec;
  set_->push_back(std::move(member));
  return {};
}

void QuantizePlan::add_input_scale(const ViewWeight& weight, Member& member) {
  const std::string_view name = options_.choice.recipe.dialect->name;
  if (name == "nvfp4") {
    member.input_scale = plan_.add(module_name(weight) + ".input_scale", Dtype::f32, Shape{});
  } else if (name == "ct_nvfp4") {
    member.input_scale =
        plan_.add(module_name(weight) + ".input_global_scale", Dtype::f32, Shape{1});
  }
}

Result<float> QuantizePlan::input_scale(const ViewWeight& weight) const {
  const std::string what = join(input_name(weight.place.role), ".amax");
  const WeightPlace& place = weight.place;
  double amax = kNvfp4Range;  // a scale of 1: right for any activation below 2688, and coarse
  if (options_.stats != nullptr && options_.stats->has(place.layer, what)) {
    MM2_ASSIGN_OR_RETURN(const auto all, options_.stats->row(place.layer, what, -1));
    const double most = *std::max_element(all.begin(), all.end());
    amax = place.expert < 0 ? most : all.at(static_cast<size_t>(place.expert));
    if (amax == 0) amax = most;  // nobody was sent there: as large as its peers saw
    if (amax == 0) amax = kNvfp4Range;
  }
  const auto scale = static_cast<float>(amax / kNvfp4Range);
  return options_.choice.recipe.dialect->name == "ct_nvfp4" ? 1.0f / scale : scale;
}

void QuantizePlan::finish_set() {
  Piece piece;
  for (const Member& member : *set_) {
    for (size_t i = 0; i < member.parts.size(); ++i) {
      piece.outputs.push_back({member.tensors[i], 0, member.parts[i].bytes});
    }
    if (member.input_scale != UINT32_MAX) piece.outputs.push_back({member.input_scale, 0, 4});
    piece.bytes_read +=
        CheckpointView::bytes_of_rows(*member.weight, member.weight->place.n_rows());
  }
  if (options_.choice.recipe.gptq) {
    // The Hessian and its factor, which quantizers take themselves, count as memory of the piece.
    const auto n = static_cast<uint64_t>(set_->front().spec.n_cols);
    piece.scratch = n * n * 28;
  }
  piece.run = [this, set = set_](PieceRun& run) { return run_set(*set, run); };
  plan_.pieces.push_back(std::move(piece));
  set_ = nullptr;
}

Status QuantizePlan::run_set(const Set& set, PieceRun& run) const {
  QuantRecipe recipe = options_.choice.recipe;
  QuantContext context;
  const WeightPlace& first = set.front().weight->place;
  const auto n_cols = static_cast<size_t>(first.n_cols());
  std::vector<float> sums;
  HessianFactor factor;
  if (options_.stats != nullptr && (recipe.gptq || wants_imatrix(recipe))) {
    MM2_ASSIGN_OR_RETURN(const double n, n_inputs(*options_.stats, first));
    if (recipe.gptq && n > 0) {
      MM2_ASSIGN_OR_RETURN(sums,
                           input_sums(*options_.stats, first, "hessian", n_cols * n_cols, 2.0 / n));
      auto made = factor_hessian(sums, first.n_cols(), options_.choice.hessian);
      if (!made.ok()) return Status(made.status()).in(first.name);
      factor = *std::move(made);
      context.hessian = &factor;
    } else if (n > 0 &&
               options_.stats->has(first.layer, join(input_name(first.role), ".squares"))) {
      MM2_ASSIGN_OR_RETURN(sums, input_sums(*options_.stats, first, "squares", n_cols, 1.0 / n));
      context.imatrix = sums.data();
    }
    if (context.hessian == nullptr) {
      recipe.gptq.reset();  // no token came here: rounded to nearest
      recipe.ordered = false;
    }
  }
  if (std::holds_alternative<Nvfp4Options>(recipe.rule)) {
    float largest = 0;
    std::vector<float> rows;
    for (const Member& member : set) {
      const WeightPlace& place = member.weight->place;
      const int64_t step = slab_rows(place.n_rows(), place.n_cols(), 1);
      rows.resize(static_cast<size_t>(step * place.n_cols()));
      for (int64_t row = 0; row < place.n_rows(); row += step) {
        const int64_t n = std::min(step, place.n_rows() - row);
        MM2_RETURN_IF_ERROR(view_.rows(*member.weight, row, n, rows.data()));
        const auto size = largest_size({rows.data(), n, place.n_cols(), row});
        if (!size.ok()) return Status(size.status()).in(place.name);
        largest = std::max(largest, *size);
      }
    }
    context.shared_largest = largest;
  }
  size_t output = 0;
  Json note = Json::array();
  for (const Member& member : set) {
    std::vector<std::byte*> memory;
    for (size_t i = 0; i < member.parts.size(); ++i) memory.push_back(run.outputs[output++].data());
    MM2_RETURN_IF_ERROR(run_member(member, context, recipe, memory, note));
    if (member.input_scale == UINT32_MAX) continue;
    MM2_ASSIGN_OR_RETURN(const float scale, input_scale(*member.weight));
    std::memcpy(run.outputs[output++].data(), &scale, sizeof scale);
  }
  if (!note.empty()) run.note = std::move(note);
  return {};
}

Status QuantizePlan::run_member(const Member& member, const QuantContext& context,
                                const QuantRecipe& recipe, std::span<std::byte* const> memory,
                                Json& note) const {
  const ViewWeight& weight = *member.weight;
  const RowReader read = [&](int64_t first, int64_t n, float* to) {
    return folding_.rows(view_, weight, first, n, to);
  };
  QuantFigures figures;
  Status status = quantize_matrix(recipe, member.spec, member.parts, read, context, memory,
                                  options_.errors ? &figures : nullptr);
  if (!status.ok()) return std::move(status).in(weight.place.name);
  if (options_.errors) {
    Json one = {{"module", module_name(weight)},
                {"class", std::string(role_name(weight.place.role))},
                {"n", weight.place.shape.n_elements()}};
    one.update(error_json(figures));
    note.push_back(std::move(one));
  }
  return {};
}

namespace {

// BF16 of n numbers. False where one changed, where `exact`, or became infinite: refuse() tells.
inline __attribute__((always_inline)) bool bf16_loop(const float* __restrict from, int64_t n,
                                                     bool exact, uint16_t* __restrict to) {
  constexpr uint32_t kInfinity = 0x7f800000u;
  uint32_t differ = 0, beyond = 0;
  for (int64_t i = 0; i < n; ++i) {
    to[i] = f32_to_bf16(from[i]);
    const auto was = std::bit_cast<uint32_t>(from[i]);
    const auto is = std::bit_cast<uint32_t>(bf16_to_f32(to[i]));
    differ |= was ^ is;
    beyond |= (is & kInfinity) == kInfinity ? 1u : 0u;
  }
  return beyond == 0 && (!exact || differ == 0);
}

// Rows of a weight as numbers of a type.
struct Narrowing {
  const CheckpointView& view;
  const ViewWeight& weight;
  Dtype dtype;
  bool exact;

  // Some rows at a time, which stay in the core's cache.
  static constexpr int64_t kRows = 64;

  Status run(int64_t first, int64_t n_rows, PieceRun& run) const {
    const int64_t cols = weight.place.n_cols();
    auto* const numbers = reinterpret_cast<float*>(run.scratch.data());
    std::byte* to = run.outputs[0].data();
    for (int64_t row = 0; row < n_rows; row += kRows) {
      const int64_t n = std::min(kRows, n_rows - row) * cols;
      MM2_RETURN_IF_ERROR(view.rows(weight, first + row, n / cols, numbers));
      if (dtype == Dtype::f32) {
        std::memcpy(to, numbers, static_cast<size_t>(n) * 4);
        to += n * 4;
        continue;
      }
      auto* const narrow = reinterpret_cast<uint16_t*>(to);
      if (dtype != Dtype::bf16 || !VectorCode<bf16_loop>::run(numbers, n, exact, narrow)) {
        MM2_RETURN_IF_ERROR(one_by_one(first + row, numbers, n, narrow));
      }
      to += n * 2;
    }
    return {};
  }

 private:
  Status one_by_one(int64_t first_row, const float* numbers, int64_t n, uint16_t* to) const {
    const int64_t cols = weight.place.n_cols();
    for (int64_t i = 0; i < n; ++i) {
      const float x = numbers[i];
      to[i] = dtype == Dtype::bf16 ? f32_to_bf16(x) : f32_to_f16(x);
      const float back = dtype == Dtype::bf16 ? bf16_to_f32(to[i]) : f16_to_f32(to[i]);
      const auto place_of = [&] {
        return join(weight.place.name, ": row ", first_row + i / cols, ", column ", i % cols, ": ",
                    x);
      };
      if (std::isfinite(x) && !std::isfinite(back)) {
        return error(Code::numeric, place_of(), " leaves the range of ", dtype_name(dtype));
      }
      if (exact && back != x) {
        return error(Code::check_failed, place_of(), " would be rounded to ", back);
      }
    }
    return {};
  }
};

}  // namespace

void plan_numbers(const CheckpointView& view, const ViewWeight& weight, Dtype dtype, bool exact,
                  WritePlan& plan) {
  const WeightPlace& place = weight.place;
  const uint32_t to = plan.add(place.name, dtype, place.shape);
  const uint64_t width = dtype == Dtype::f32 ? 4 : 2;
  const Narrowing narrowing{view, weight, dtype, exact};
  for_each_slab(place.n_rows(), place.n_cols(), Narrowing::kRows, [&](int64_t first, int64_t n) {
    const auto cols = static_cast<uint64_t>(place.n_cols());
    Piece piece;
    piece.outputs = {
        {to, static_cast<uint64_t>(first) * cols * width, static_cast<uint64_t>(n) * cols * width}};
    piece.bytes_read = CheckpointView::bytes_of_rows(weight, n);
    piece.scratch = static_cast<uint64_t>(std::min(n, Narrowing::kRows)) * cols * sizeof(float);
    piece.run = [narrowing, first, n](PieceRun& run) { return narrowing.run(first, n, run); };
    plan.pieces.push_back(std::move(piece));
  });
}

void report_errors(WritePlan& plan) {
  plan.finish = [](std::span<const Json> notes, Json& report, std::vector<SideFile>& files) {
    struct Class {
      uint64_t n = 0;
      double mean = 0, worst = 0;  // of relative_l2, weighted by numbers
      std::string worst_module;
    };
    std::map<std::string, Class> classes;
    Json all = Json::array();
    for (const Json& note : notes) {
      for (const Json& one : note.is_array() ? note : Json::array()) {
        all.push_back(one);
        Class& c = classes[one["class"].get<std::string>()];
        const auto n = one["n"].get<uint64_t>();
        const auto error = one["relative_l2"].get<double>();
        c.n += n;
        c.mean += error * static_cast<double>(n);
        if (error >= c.worst) {
          c.worst = error;
          c.worst_module = one["module"].get<std::string>();
        }
      }
    }
    report["classes"] = Json::array();
    for (const auto& [name, c] : classes) {
      report["classes"].push_back({{"class", name},
                                   {"numbers", c.n},
                                   {"relative_l2", c.mean / static_cast<double>(c.n)},
                                   {"worst", c.worst},
                                   {"worst_module", c.worst_module}});
    }
    files.push_back({"errors.json", Json({{"matrices", std::move(all)}}).dump(1) + "\n", ""});
    return Status();
  };
}

}  // namespace mm2
