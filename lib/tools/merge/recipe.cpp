#include "tools/merge/recipe.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace mm2 {
namespace {

template <typename... Pieces>
Status wrong(const std::string& where, const Pieces&... pieces) {
  return error(Code::format, where, ": ", pieces...);
}

std::string shown(const Json& json) {
  const std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

Status check_object(const Json& json, std::span<const std::string_view> names,
                    const std::string& where) {
  if (!json.is_object()) return wrong(where, "must be an object, is ", shown(json));
  for (const auto& [name, value] : json.items()) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    std::string known;
    for (const std::string_view one : names) known += join(known.empty() ? "" : ", ", one);
    return wrong(where, "\"", name.substr(0, 100), "\" is not known; there are ", known);
  }
  return {};
}

Result<std::string> text_of(const Json& json, const std::string& where) {
  if (!json.is_string() || json.get_ref<const std::string&>().empty())
    return wrong(where, "must be a text, is ", shown(json));
  return json.get<std::string>();
}

Status read_text(const Json& json, const char* name, const std::string& where, std::string& to) {
  if (!json.contains(name) || json.at(name).is_null()) return {};
  MM2_ASSIGN_OR_RETURN(to, text_of(json.at(name), join(where, ": ", name)));
  return {};
}

Result<double> number_of(const Json& json, const std::string& where) {
  if (json.is_boolean()) return json.get<bool>() ? 1.0 : 0.0;
  if (!json.is_number()) return wrong(where, "must be a number, is ", shown(json));
  const double value = json.get<double>();
  if (!std::isfinite(value)) return wrong(where, "must be a finite number");
  return value;
}

constexpr std::string_view kBooleans[] = {"normalize",        "rescale",
                                          "int8_mask",        "nuslerp_flatten",
                                          "nuslerp_row_wise", "normalize_weights"};

bool is_boolean_name(std::string_view name) {
  return std::find(std::begin(kBooleans), std::end(kBooleans), name) != std::end(kBooleans);
}

// Parameters of any method: which one a tensor goes by is known only when its rule is.
Result<Settings> read_settings(const Json& json, const std::string& where) {
  Settings settings;
  if (json.is_null()) return settings;
  if (!json.is_object()) return wrong(where, "must be an object, is ", shown(json));
  for (const auto& [name, value] : json.items()) {
    MM2_ASSIGN_OR_RETURN(Setting setting, Setting::parse(value, join(where, ": ", name)));
    if (setting.is_boolean() != is_boolean_name(name))
      return wrong(where, name,
                   is_boolean_name(name) ? " must be true or false" : " must be a number");
    settings.emplace(name, std::move(setting));
  }
  return settings;
}

Status check_settings(const Settings& settings, std::span<const MergeMethod> methods,
                      const std::string& where) {
  for (const auto& [name, setting] : settings) {
    bool known = false;
    for (const MergeMethod method : methods) {
      const auto names = method_facts(method).parameters;
      known = known || std::find(names.begin(), names.end(), name) != names.end();
    }
    if (known) continue;
    std::string there;
    for (const std::string_view one : method_facts(methods[0]).parameters)
      there += join(there.empty() ? "" : ", ", one);
    return wrong(where, "the method ", merge_method_name(methods[0]), " has no parameter \"",
                 name.substr(0, 100), "\"; there are ", there.empty() ? "none" : there);
  }
  return {};
}

Result<MergeMethod> method_of(const Json& json, const std::string& where) {
  MM2_ASSIGN_OR_RETURN(const std::string name, text_of(json, where));
  if (const auto method = merge_method_from_name(name)) return *method;
  std::string known;
  for (int i = 0; i < kMergeMethods; ++i)
    known += join(i == 0 ? "" : ", ", merge_method_name(static_cast<MergeMethod>(i)));
  return wrong(where, "there is no method \"", name.substr(0, 100), "\"; there are ", known);
}

Result<std::string> dtype_of(const Json& json, const std::string& where) {
  constexpr std::string_view kKnown[] = {"float32", "float16", "bfloat16", "fp8"};
  MM2_ASSIGN_OR_RETURN(std::string name, text_of(json, where));
  if (std::find(std::begin(kKnown), std::end(kKnown), name) != std::end(kKnown)) return name;
  return wrong(where, "there is no type \"", name.substr(0, 100),
               "\"; there are float32, float16, bfloat16, fp8");
}

Result<RecipeModel> read_model(const Json& json, bool with_range, const std::string& where) {
  static constexpr std::string_view kPlain[] = {"model", "parameters"};
  static constexpr std::string_view kSliced[] = {"model", "parameters", "layer_range"};
  MM2_RETURN_IF_ERROR(check_object(json,
                                   with_range ? std::span<const std::string_view>(kSliced)
                                              : std::span<const std::string_view>(kPlain),
                                   where));
  RecipeModel model;
  MM2_RETURN_IF_ERROR(read_text(json, "model", where, model.path));
  if (model.path.empty()) return wrong(where, "\"model\" is missing");
  if (json.contains("parameters")) {
    MM2_ASSIGN_OR_RETURN(model.parameters,
                         read_settings(json.at("parameters"), where + ": parameters"));
  }
  return model;
}

Result<std::vector<RecipeModel>> read_models(const Json& list, bool with_range,
                                             const std::string& where) {
  if (!list.is_array() || list.empty() || list.size() > 64)
    return wrong(where, "must be a list of 1 to 64 models");
  std::vector<RecipeModel> models;
  for (size_t i = 0; i < list.size(); ++i) {
    MM2_ASSIGN_OR_RETURN(RecipeModel model,
                         read_model(list[i], with_range, join(where, "[", i, "]")));
    for (const RecipeModel& other : models) {
      if (other.path == model.path)
        return wrong(where, "the model ", model.path, " is there twice");
    }
    models.push_back(std::move(model));
  }
  return models;
}

// mergekit's slices, as far as they are the whole of each model.
Status read_slices(const Json& slices, const std::string& where, Recipe& recipe) {
  if (!slices.is_array() || slices.size() != 1)
    return wrong(where, "only one slice, of all layers, is supported");
  static constexpr std::string_view kNames[] = {"sources", "parameters"};
  const std::string place = where + "[0]";
  MM2_RETURN_IF_ERROR(check_object(slices[0], kNames, place));
  if (!slices[0].contains("sources")) return wrong(place, "\"sources\" is missing");
  const Json& sources = slices[0].at("sources");
  MM2_ASSIGN_OR_RETURN(recipe.models, read_models(sources, true, place + ": sources"));
  for (const Json& source : sources) {
    if (source.value("layer_range", Json()) != sources[0].value("layer_range", Json()))
      return wrong(place, "layer_range must be the same for all models");
  }
  if (slices[0].contains("parameters")) {
    MM2_ASSIGN_OR_RETURN(Settings own,
                         read_settings(slices[0].at("parameters"), place + ": parameters"));
    recipe.parameters.merge(own);
  }
  return {};
}

Result<RecipeRule> read_rule(const Json& json, const std::string& where) {
  static constexpr std::string_view kNames[] = {"tensors", "merge_method", "copy", "parameters",
                                                "dtype"};
  MM2_RETURN_IF_ERROR(check_object(json, kNames, where));
  RecipeRule rule;
  const Json globs = json.value("tensors", Json());
  const Json list = globs.is_array() ? globs : Json::array({globs});
  for (const Json& glob : list) {
    MM2_ASSIGN_OR_RETURN(std::string text, text_of(glob, where + ": tensors"));
    rule.tensors.push_back(std::move(text));
  }
  if (rule.tensors.empty()) return wrong(where, "\"tensors\" has no patterns");
  if (json.contains("merge_method")) {
    MM2_ASSIGN_OR_RETURN(rule.method, method_of(json.at("merge_method"), where + ": merge_method"));
  }
  if (json.contains("copy")) {
    MM2_ASSIGN_OR_RETURN(rule.copy, text_of(json.at("copy"), where + ": copy"));
    if (rule.method || json.contains("parameters"))
      return wrong(where, "\"copy\" stands alone, without merge_method and parameters");
  }
  if (json.contains("parameters")) {
    MM2_ASSIGN_OR_RETURN(rule.parameters,
                         read_settings(json.at("parameters"), where + ": parameters"));
  }
  if (json.contains("dtype")) {
    MM2_ASSIGN_OR_RETURN(rule.dtype, dtype_of(json.at("dtype"), where + ": dtype"));
  }
  return rule;
}

bool names_model(const Recipe& recipe, const std::string& path) {
  return path == recipe.base_model ||
         std::any_of(recipe.models.begin(), recipe.models.end(),
                     [&](const RecipeModel& model) { return model.path == path; });
}

// What can be said only once all of it is read.
Status check_recipe(Recipe& recipe, const std::string& what) {
  if (recipe.models.empty()) return wrong(what, "there are neither \"models\" nor \"slices\"");
  std::vector<MergeMethod> methods = {recipe.method};
  for (size_t i = 0; i < recipe.rules.size(); ++i) {
    const RecipeRule& rule = recipe.rules[i];
    const std::string where = join(what, ": rules[", i, "]");
    if (rule.copy && !names_model(recipe, *rule.copy))
      return wrong(where, "copy: ", *rule.copy, " is not one of the models");
    const MergeMethod own[] = {rule.method.value_or(recipe.method)};
    MM2_RETURN_IF_ERROR(check_settings(rule.parameters, own, where + ": parameters"));
    methods.push_back(own[0]);
  }
  MM2_RETURN_IF_ERROR(check_settings(recipe.parameters, methods, what + ": parameters"));
  for (const RecipeModel& model : recipe.models) {
    MM2_RETURN_IF_ERROR(
        check_settings(model.parameters, methods, join(what, ": ", model.path, ": parameters")));
  }
  if (recipe.tokenizer_source == "base") recipe.tokenizer_source = recipe.base_model;
  if (!recipe.tokenizer_source.empty() && !names_model(recipe, recipe.tokenizer_source))
    return wrong(what, "tokenizer_source: ", recipe.tokenizer_source, " is not one of the models");
  return {};
}

}  // namespace

Result<Setting> Setting::parse(const Json& json, const std::string& where) {
  Setting setting;
  const auto values = [&](const Json& from, Case& to) -> Status {
    const Json list = from.is_array() ? from : Json::array({from});
    if (list.empty()) return wrong(where, "must not be an empty list");
    for (const Json& one : list) {
      MM2_ASSIGN_OR_RETURN(const double value, number_of(one, where));
      setting.boolean_ = one.is_boolean();
      to.values.push_back(value);
    }
    return {};
  };
  if (!json.is_array() || json.empty() || !json[0].is_object()) {
    MM2_RETURN_IF_ERROR(values(json, setting.cases_.emplace_back()));
    return setting;
  }
  static constexpr std::string_view kNames[] = {"filter", "value"};
  for (size_t i = 0; i < json.size(); ++i) {
    const std::string place = join(where, "[", i, "]");
    MM2_RETURN_IF_ERROR(check_object(json[i], kNames, place));
    if (!json[i].contains("value")) return wrong(place, "\"value\" is missing");
    Case one;
    MM2_RETURN_IF_ERROR(read_text(json[i], "filter", place, one.filter));
    if (one.filter == "*") one.filter.clear();
    MM2_RETURN_IF_ERROR(values(json[i].at("value"), one));
    setting.cases_.push_back(std::move(one));
  }
  return setting;
}

std::optional<double> Setting::at(std::string_view tensor, double depth) const {
  for (const Case& one : cases_) {
    if (!one.filter.empty() && tensor.find(one.filter) == std::string_view::npos) continue;
    const double place = depth * static_cast<double>(one.values.size() - 1);
    const size_t i = static_cast<size_t>(place);
    const size_t next = std::min(one.values.size() - 1, i + 1);
    const double share = place - static_cast<double>(i);
    return (1 - share) * one.values[i] + share * one.values[next];
  }
  return std::nullopt;
}

Result<Recipe> parse_recipe(const Json& json, const std::string& what) {
  static constexpr std::string_view kNames[] = {
      "models", "slices", "base_model", "merge_method",     "parameters", "rules",
      "dtype",  "seed",   "name",       "tokenizer_source", "out_dtype"};
  MM2_RETURN_IF_ERROR(check_object(json, kNames, what));
  Recipe recipe;
  if (!json.contains("merge_method")) return wrong(what, "\"merge_method\" is missing");
  MM2_ASSIGN_OR_RETURN(recipe.method, method_of(json.at("merge_method"), what + ": merge_method"));
  MM2_RETURN_IF_ERROR(read_text(json, "base_model", what, recipe.base_model));
  MM2_RETURN_IF_ERROR(read_text(json, "tokenizer_source", what, recipe.tokenizer_source));
  if (json.contains("parameters")) {
    MM2_ASSIGN_OR_RETURN(recipe.parameters,
                         read_settings(json.at("parameters"), what + ": parameters"));
  }
  if (json.contains("models") && json.contains("slices"))
    return wrong(what, "there are \"models\" and \"slices\", one of them is wanted");
  if (json.contains("models")) {
    MM2_ASSIGN_OR_RETURN(recipe.models, read_models(json.at("models"), false, what + ": models"));
  }
  if (json.contains("slices")) {
    MM2_RETURN_IF_ERROR(read_slices(json.at("slices"), what + ": slices", recipe));
  }
  // mergekit computes in dtype and writes out_dtype; here arithmetic is FP32 and wider anyhow.
  for (const char* name : {"dtype", "out_dtype"}) {
    if (!json.contains(name) || json.at(name).is_null()) continue;
    MM2_ASSIGN_OR_RETURN(recipe.dtype, dtype_of(json.at(name), join(what, ": ", name)));
  }
  if (json.contains("seed")) {
    if (!json.at("seed").is_number_unsigned())
      return wrong(what, "seed: must be a whole number of at least 0");
    recipe.seed = json.at("seed").get<uint64_t>();
  }
  if (json.contains("rules")) {
    const Json& rules = json.at("rules");
    if (!rules.is_array()) return wrong(what, "rules: must be a list");
    for (size_t i = 0; i < rules.size(); ++i) {
      MM2_ASSIGN_OR_RETURN(RecipeRule rule, read_rule(rules[i], join(what, ": rules[", i, "]")));
      recipe.rules.push_back(std::move(rule));
    }
  }
  MM2_RETURN_IF_ERROR(check_recipe(recipe, what));
  return recipe;
}

}  // namespace mm2
