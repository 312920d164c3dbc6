// merge: several checkpoints into one, weight by weight, by a recipe.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "tools/merge/merge_plan.h"
#include "tools/merge/schedule.h"
#include "tools/merge_output.h"
#include "tools/pair_pass.h"
#include "tools/stream/hash.h"
#include "tools/verbs.h"
#include "tools/writing.h"

namespace mm2 {
namespace {

constexpr uint64_t kMaxScan = uint64_t{1} << 30;
constexpr uint64_t kMaxTokenizer = 256 << 20;

struct MergeOptions {
  Recipe recipe;
  std::string t_from, t_formula = "scan";
  std::vector<std::string> only;
  Fp8Rule fp8_rule = Fp8Rule::mse;
  MergeArithmetic arithmetic = MergeArithmetic::f32;
};

using Views = std::vector<std::shared_ptr<CheckpointView>>;

// models, method, t, weights, parameters: a recipe without a file.
Result<Json> short_recipe(const OptionReader& reader) {
  std::vector<std::string> models;
  std::string method = "slerp", base;
  double t = 0;
  MM2_RETURN_IF_ERROR(reader.texts("models", models));
  MM2_RETURN_IF_ERROR(reader.text("method", method));
  MM2_RETURN_IF_ERROR(reader.text("base", base));
  MM2_RETURN_IF_ERROR(reader.number("t", 0, 1, t));
  if (models.empty()) return reader.wrong("models", "must name the checkpoints to merge");
  Json recipe = {{"merge_method", method}, {"models", Json::array()}};
  const Json* weights = reader.find("weights");
  if (weights != nullptr && (!weights->is_array() || weights->size() != models.size()))
    return reader.wrong("weights", join("must be a list of ", models.size(), " numbers"));
  for (size_t i = 0; i < models.size(); ++i) {
    Json model = {{"model", models[i]}};
    if (weights != nullptr) model["parameters"] = {{"weight", (*weights)[i]}};
    recipe["models"].push_back(std::move(model));
  }
  const auto known = merge_method_from_name(method);
  if (base.empty() && known && method_facts(*known).needs_base) base = models[0];
  if (!base.empty()) recipe["base_model"] = base;
  Json parameters = Json::object();
  if (const Json* given = reader.find("parameters")) parameters = *given;
  if (!parameters.is_object()) return reader.wrong("parameters", "must be an object");
  if (reader.find("t") != nullptr) parameters["t"] = t;
  recipe["parameters"] = std::move(parameters);
  return recipe;
}

Status refuse_both(const OptionReader& reader) {
  if (reader.find("recipe") == nullptr) return {};
  for (const char* name : {"models", "method", "t", "weights", "parameters", "base"}) {
    if (reader.find(name) != nullptr)
      return reader.wrong(name, "stands in the recipe, which is given too");
  }
  return {};
}

Result<MergeOptions> read_options(const OptionReader& reader) {
  static constexpr std::string_view kOnly[] = {"experts", "attn",  "router",
                                               "norm",    "embed", "head"};
  static constexpr std::string_view kSearches[] = {"amax", "mse"};
  static constexpr std::string_view kArithmetics[] = {"f32", "bf16"};
  static constexpr std::string_view kFormulas[] = {"scan", "slurpy"};
  static constexpr std::string_view kTypes[] = {"float32", "float16", "bfloat16", "fp8",
                                                "f32",     "f16",     "bf16",     "fp8block"};
  MM2_RETURN_IF_ERROR(refuse_both(reader));
  MergeOptions to;
  Json recipe;
  if (const Json* given = reader.find("recipe")) {
    recipe = *given;
  } else {
    MM2_ASSIGN_OR_RETURN(recipe, short_recipe(reader));
  }
  MM2_ASSIGN_OR_RETURN(to.recipe, parse_recipe(recipe, "merge: recipe"));
  std::string search = "mse", arithmetic = "f32", dtype;
  int64_t seed = 0;
  MM2_RETURN_IF_ERROR(reader.word("scale_search", kSearches, search));
  MM2_RETURN_IF_ERROR(reader.word("arithmetic", kArithmetics, arithmetic));
  MM2_RETURN_IF_ERROR(reader.word("out_dtype", kTypes, dtype));
  MM2_RETURN_IF_ERROR(reader.word("t_formula", kFormulas, to.t_formula));
  MM2_RETURN_IF_ERROR(reader.text("t_from", to.t_from));
  MM2_RETURN_IF_ERROR(reader.texts("only", to.only));
  MM2_RETURN_IF_ERROR(reader.integer("seed", 0, INT64_MAX, seed));
  MM2_RETURN_IF_ERROR(reader.text("tokenizer_from", to.recipe.tokenizer_source));
  for (const std::string& word : to.only) {
    if (std::find(std::begin(kOnly), std::end(kOnly), word) == std::end(kOnly))
      return reader.wrong("only", "must be of experts, attn, router, norm, embed, head");
  }
  if (search == "amax") to.fp8_rule = Fp8Rule::amax;
  if (arithmetic == "bf16") to.arithmetic = MergeArithmetic::bf16;
  if (reader.find("seed") != nullptr) to.recipe.seed = static_cast<uint64_t>(seed);
  for (size_t i = 4; i < std::size(kTypes); ++i) {
    if (dtype == kTypes[i]) dtype = kTypes[i - 4];
  }
  if (!dtype.empty()) to.recipe.dtype = dtype;
  return to;
}

std::string_view part_of_model(Role role) {
  switch (role) {
    case Role::embedding:
      return "embed";
    case Role::lm_head:
      return "head";
    case Role::router:
    case Role::router_bias:
      return "router";
    case Role::q_proj:
    case Role::k_proj:
    case Role::v_proj:
    case Role::o_proj:
      return "attn";
    case Role::w1:
    case Role::w2:
    case Role::w3:
      return "experts";
    default:
      return "norm";
  }
}

// t of single tensors out of what forensics wrote.
Status read_schedule(const MergeOptions& options, const Host& host, MergePlan& plan,
                     std::string& digest) {
  if (options.t_from.empty()) return {};
  MM2_ASSIGN_OR_RETURN(const std::string text, read_all(*host.source, options.t_from, kMaxScan));
  MM2_ASSIGN_OR_RETURN(const Json scan, parse_json(text, options.t_from));
  const std::string what = join("reading ", options.t_from, ": ");
  if (!scan.is_object() || !scan.contains("tensors") || !scan.at("tensors").is_array())
    return error(Code::format, what, "no list \"tensors\", as forensics writes it");
  std::vector<ScheduleRow> rows;
  std::vector<double> t;
  const bool slurpy = options.t_formula == "slurpy";
  for (const Json& row : scan.at("tensors")) {
    const char* const field = slurpy ? "delta" : "t";
    if (!row.is_object() || !row.value("name", Json()).is_string() ||
        !row.value(field, Json()).is_number()) {
      return error(Code::format, what, "tensor ", rows.size(), " has no name or no ", field);
    }
    rows.push_back({row.at("name").get<std::string>(), "", 0, 0});
    (slurpy ? rows.back().delta : t.emplace_back()) = row.at(field).get<double>();
  }
  if (slurpy) {
    MM2_ASSIGN_OR_RETURN(Schedule schedule, make_schedule(rows, {}));
    t = std::move(schedule.t);
  }
  Hasher hasher(HashKind::xxh3);
  hasher.begin();
  for (size_t i = 0; i < rows.size(); ++i) {
    hasher.update(rows[i].name.data(), rows[i].name.size() + 1);
    hasher.update(&t[i], sizeof t[i]);
    plan.set_t(rows[i].name, t[i]);
  }
  digest = hasher.finish();
  return {};
}

// Tokenizers of parents whose rows of the vocabulary are mixed must be one; a recipe that names the
// one to take knows what it does.
Status check_tokenizers(const Views& views, const MergeOptions& options, const Host& host) {
  if (!options.recipe.tokenizer_source.empty()) return {};
  std::string first, first_path;
  for (const auto& view : views) {
    const std::string path = join_path(view->folder(), "tokenizer.json");
    const auto text = read_all(*host.source, path, kMaxTokenizer);
    if (!text.ok()) continue;
    if (first_path.empty()) {
      first = *text;
      first_path = path;
    } else if (*text != first) {
      return error(Code::invalid_argument, "merge: ", first_path, " and ", path,
                   " differ; tokenizer_from says which one is right");
    }
  }
  return {};
}

class MergeVerb {
 public:
  MergeVerb(const WritingVerb& verb, MergeOptions options, MergePlan plan, Views views)
      : verb_(verb),
        options_(std::move(options)),
        plan_(std::move(plan)),
        views_(std::move(views)),
        lead_(views_[static_cast<size_t>(plan_.leader())]) {}

  Result<WritePlan> make(const std::string& t_digest) {
    MM2_ASSIGN_OR_RETURN(WritePlan to, frame(t_digest));
    for (const ViewWeight& weight : lead_->weights()) {
      if (!is_tied(weight)) MM2_RETURN_IF_ERROR(add(weight, to));
    }
    to.pieces.insert(to.pieces.end(), std::make_move_iterator(later_.begin()),
                     std::make_move_iterator(later_.end()));
    MM2_RETURN_IF_ERROR(check_others());
    for (const TensorInfo* tensor : lead_->others()) {
      to.copy(lead_->source(), *tensor, to.add(tensor->name, tensor->dtype, tensor->shape));
      ++n_others_;
    }
    MM2_ASSIGN_OR_RETURN(const Json config, config_json());
    to.files.push_back({"config.json", config_text(config), ""});
    to.finish = [rows = rows_, n_others = n_others_](std::span<const Json> notes, Json& report,
                                                     std::vector<SideFile>& files) {
      return finish(rows, n_others, notes, report, files);
    };
    return to;
  }

 private:
  struct Row {
    std::string name, group, method, kind, copied_from;
    std::optional<double> t;
  };

  // Everything but tensors and config.json.
  Result<WritePlan> frame(const std::string& t_digest) const {
    WritePlan to = verb_.plan_for(*lead_);
    std::vector<std::string> names;
    for (size_t i = 0; i < views_.size(); ++i) {
      if (views_[i] != lead_) WritingVerb::add_parent(*views_[i], to);
      names.push_back(std::filesystem::path(views_[i]->folder()).filename().string());
    }
    // A manifest does not depend on where parents lie.
    to.recipe = without_paths(to.recipe, names);
    to.recipe.erase("t_from");
    if (!t_digest.empty()) to.recipe["t_digest"] = t_digest;
    if (options_.recipe.tokenizer_source.empty()) return to;
    for (size_t i = 0; i < views_.size(); ++i) {
      if (plan_.models()[i] != options_.recipe.tokenizer_source) continue;
      std::erase_if(to.files, [](const SideFile& file) { return is_text_file(file.name); });
      for (const std::string& name : views_[i]->files_to_take()) {
        if (is_text_file(name))
          to.files.push_back({name, "", join_path(views_[i]->folder(), name)});
      }
      return to;
    }
    return error(Code::invalid_argument,
                 "merge: tokenizer_from: ", options_.recipe.tokenizer_source,
                 " is not one of the models");
  }

  static bool is_text_file(const std::string& name) {
    for (const char* start :
         {"tokenizer", "chat_template", "special_tokens_map", "added_tokens", "vocab", "merges"}) {
      if (name.starts_with(start)) return true;
    }
    return false;
  }

  Json without_paths(const Json& json, const std::vector<std::string>& names) const {
    if (json.is_string()) {
      for (size_t i = 0; i < names.size(); ++i) {
        if (json == plan_.models()[i]) return names[i];
      }
      return json;
    }
    if (!json.is_structured()) return json;
    Json result = json.is_array() ? Json::array() : Json::object();
    for (const auto& [key, value] : json.items()) {
      if (json.is_array()) {
        result.push_back(without_paths(value, names));
      } else {
        result[key] = without_paths(value, names);
      }
    }
    return result;
  }

  bool is_tied(const ViewWeight& weight) const {
    return weight.place.role == Role::lm_head &&
           weight.description.parts[0] == lead_->weights().front().description.parts[0];
  }

  bool selected(const ViewWeight& weight) const {
    const auto& only = options_.only;
    return only.empty() ||
           std::find(only.begin(), only.end(), part_of_model(weight.place.role)) != only.end();
  }

  Status add(const ViewWeight& weight, WritePlan& to) {
    PlannedMerge planned;
    if (selected(weight)) {
      MM2_ASSIGN_OR_RETURN(planned, plan_.find(weight.place.name));
    } else {
      planned.copies = true;
      planned.parents = {plan_.leader()};
      planned.dtype = options_.recipe.dtype;
    }
    MM2_ASSIGN_OR_RETURN(const MergedKind kind, kind_of(weight, planned));
    if (is_linear(weight.place.role)) ++(kind == MergedKind::fp8 ? n_fp8_ : n_plain_);
    MergedWeight merged{weight.place.name, planned.rule, {}, {}, kind, options_.fp8_rule};
    merged.rule.arithmetic = options_.arithmetic;
    for (const int place : planned.parents) {
      const auto& view = views_[static_cast<size_t>(place)];
      MM2_ASSIGN_OR_RETURN(const ViewWeight* const parent, partner(view, weight));
      merged.views.push_back(view);
      merged.parents.push_back(parent);
    }
    Row row{weight.place.name, pair_class(weight), "", std::string(merged_kind_name(kind)), "", {}};
    if (planned.copies) row.copied_from = folder_name(*merged.views[0]);
    if (planned.copies && stored_kind(*merged.parents[0]) == kind) {
      rows_.push_back(std::move(row));
      return plan_copied(merged.views[0], *merged.parents[0], to);
    }
    if (planned.copies) {  // the same numbers, stored otherwise
      merged.rule = MergeRule();
      merged.rule.method = MergeMethod::passthrough;
      merged.rule.parents.resize(1);
    }
    row.method = merge_method_name(merged.rule.method);
    row.t = merged.rule.t;
    plan_merged(std::move(merged), rows_.size(), to, later_);
    rows_.push_back(std::move(row));
    return {};
  }

  static std::string folder_name(const CheckpointView& view) {
    return std::filesystem::path(view.folder()).filename().string();
  }

  Result<const ViewWeight*> partner(const std::shared_ptr<CheckpointView>& view,
                                    const ViewWeight& weight) const {
    const ViewWeight* found = view->find(weight.place.name);
    if (found == nullptr)
      return error(Code::invalid_argument, "merge: ", view->folder(), " has no ", weight.place.name,
                   ", which ", lead_->folder(), " has");
    if (!(found->place.shape == weight.place.shape))
      return error(Code::invalid_argument, "merge: ", weight.place.name, " is ",
                   found->place.shape.to_string(), " in ", view->folder(), " and ",
                   weight.place.shape.to_string(), " in ", lead_->folder());
    return found;
  }

  // Weights that another parent has and the leading one has not.
  Status check_others() const {
    for (const auto& view : views_) {
      for (const ViewWeight& weight : view->weights()) {
        if (lead_->find(weight.place.name) == nullptr)
          return error(Code::invalid_argument, "merge: ", lead_->folder(), " has no ",
                       weight.place.name, ", which ", view->folder(), " has");
      }
    }
    return {};
  }

  // A type for all is one for matrices, embedding, head and norms; routers stay as they are, and of
  // FP8 there are matrices only. A type that the tensor's own rule gives is taken as it is.
  Result<MergedKind> kind_of(const ViewWeight& weight, const PlannedMerge& planned) const {
    const std::optional<MergedKind> stored = stored_kind(weight);
    std::string wanted = planned.dtype;
    const Role role = weight.place.role;
    if (!planned.own_dtype) {
      const bool router = role == Role::router || role == Role::router_bias;
      if ((wanted == "fp8" && !is_linear(role)) || (router && stored)) wanted.clear();
    }
    if (wanted == "fp8" && weight.place.shape.rank() != 2)
      return error(Code::invalid_argument, "merge: ", weight.place.name, " ",
                   weight.place.shape.to_string(), " is no matrix and cannot be fp8");
    for (const MergedKind kind :
         {MergedKind::f32, MergedKind::f16, MergedKind::bf16, MergedKind::fp8}) {
      if (wanted == merged_kind_name(kind)) return kind;
    }
    if (stored) return *stored;
    return error(Code::unsupported, "merge: ", weight.place.name, " is ",
                 weight.description.to_string(), " in ", lead_->folder(),
                 ", which merge does not write; out_dtype says what to write");
  }

  Result<Json> config_json() const {
    Json config = lead_->config_json();
    if (n_fp8_ > 0 && n_plain_ > 0)
      return error(Code::invalid_argument, "merge: ", n_fp8_, " matrices would be fp8 and ",
                   n_plain_, " plain, which config.json cannot say; give one type to all");
    const bool was_fp8 =
        lead_->quant().method == "fp8" && stored_kind(*first_matrix()) == MergedKind::fp8;
    if (n_fp8_ == 0) {
      config.erase("quantization_config");
    } else if (!was_fp8) {
      config["quantization_config"] = {
          {"activation_scheme", "dynamic"},
          {"fmt", "float8_e4m3fn"},
          {"quant_method", "fp8"},
          {"weight_block_size", {128, 128}},
          {"modules_to_not_convert", {"gate", "e_score_correction_bias", "lm_head"}}};
    }
    const std::string& dtype = options_.recipe.dtype;
    for (const char* name : {"torch_dtype", "dtype"}) {
      if (config.contains(name) && !dtype.empty() && dtype != "fp8") config[name] = dtype;
    }
    return config;
  }

  const ViewWeight* first_matrix() const {
    for (const ViewWeight& weight : lead_->weights()) {
      if (is_linear(weight.place.role)) return &weight;
    }
    return &lead_->weights().front();
  }

  static Json row_json(const Row& row, const MergedNote& note) {
    Json json = {{"name", row.name}, {"class", row.group}, {"dtype", row.kind}};
    if (!row.copied_from.empty()) json["copied_from"] = row.copied_from;
    if (!note.merged) return json;
    json["method"] = row.method;
    if (row.t) json["t"] = *row.t;
    for (const auto& [name, value] : note.facts.items()) json[name] = value;
    json["rel_l2"] = note.aa > 0 ? std::sqrt(note.dd / note.aa) : 0.0;
    json["norm_ratio"] = note.aa > 0 ? std::sqrt(note.bb / note.aa) : 1.0;
    json["max_abs_error"] = note.max_error;
    json["equal_share"] = static_cast<double>(note.n_equal) / static_cast<double>(note.n);
    if (row.kind == "fp8") json["saturated"] = note.n_saturated;
    return json;
  }

  static Status finish(const std::vector<Row>& rows, size_t n_others, std::span<const Json> notes,
                       Json& report, std::vector<SideFile>& files) {
    const std::vector<MergedNote> all = gather_notes(notes, rows.size());
    struct Sums {
      size_t n = 0;
      double aa = 0, bb = 0, dd = 0, t = 0, worst = 0;
    };
    std::map<std::string, Sums> groups;
    std::string text =
        "{\n \"error\": \"of what is stored against the merged numbers\",\n"
        " \"tensors\": [\n";
    size_t n_merged = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      text += join("  ", row_json(rows[i], all[i]).dump(), i + 1 < rows.size() ? ",\n" : "\n");
      if (!all[i].merged) continue;
      ++n_merged;
      Sums& sums = groups[rows[i].group];
      ++sums.n;
      sums.aa += all[i].aa;
      sums.bb += all[i].bb;
      sums.dd += all[i].dd;
      sums.t += rows[i].t.value_or(0);
      if (all[i].aa > 0) sums.worst = std::max(sums.worst, std::sqrt(all[i].dd / all[i].aa));
    }
    files.push_back({"merge_report.json", text + " ]\n}\n", ""});
    report["merged"] = n_merged;
    report["copied"] = rows.size() - n_merged;
    report["other_tensors_copied"] = n_others;
    for (const auto& [name, sums] : groups) {
      report["classes"].push_back({{"class", name},
                                   {"tensors", sums.n},
                                   {"rel_l2", sums.aa > 0 ? std::sqrt(sums.dd / sums.aa) : 0.0},
                                   {"worst_rel_l2", sums.worst},
                                   {"norm_ratio", sums.aa > 0 ? std::sqrt(sums.bb / sums.aa) : 1.0},
                                   {"mean_t", sums.t / static_cast<double>(sums.n)}});
    }
    return {};
  }

  const WritingVerb& verb_;
  MergeOptions options_;
  MergePlan plan_;
  Views views_;
  std::shared_ptr<CheckpointView> lead_;
  std::vector<Row> rows_;
  std::vector<Piece> later_;  // of large weights, behind all others
  size_t n_others_ = 0, n_fp8_ = 0, n_plain_ = 0;
};

}  // namespace

Status run_merge(const Json& json, const Host& host, Json* report) {
  static constexpr std::string_view kOwn[] = {
      "recipe",       "models",     "method",     "base",           "t",
      "weights",      "parameters", "t_from",     "t_formula",      "only",
      "scale_search", "out_dtype",  "arithmetic", "tokenizer_from", "seed"};
  MM2_ASSIGN_OR_RETURN(const WritingVerb verb, WritingVerb::read("merge", json, kOwn, host));
  MM2_ASSIGN_OR_RETURN(const MergeOptions options, read_options(verb.reader()));
  // Opened in the plan's order, which ends with a base that the recipe does not list.
  const std::vector<std::string> paths = MergePlan::make(options.recipe, 1).models();
  Views views;
  for (const std::string& path : paths) {
    MM2_ASSIGN_OR_RETURN(auto view, verb.open_input(path, "models"));
    views.push_back(std::move(view));
  }
  MergePlan plan = MergePlan::make(options.recipe, views[0]->config().n_layers);
  std::string t_digest;
  MM2_RETURN_IF_ERROR(read_schedule(options, host, plan, t_digest));
  MM2_RETURN_IF_ERROR(check_tokenizers(views, options, host));
  MergeVerb work(verb, options, std::move(plan), std::move(views));
  MM2_ASSIGN_OR_RETURN(const WritePlan to, work.make(t_digest));
  return verb.write(to, report);
}

}  // namespace mm2
