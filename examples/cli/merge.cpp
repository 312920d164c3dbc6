// mm2 merge: several checkpoints into one, by a recipe or by a few options.
#include <fstream>
#include <sstream>

#include "model_path.h"
#include "tool_verb.h"
#include "yaml.h"

namespace cli {
namespace {

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Models of a recipe may be ids of the hub cache, like everywhere.
void find_in(Json& object, const char* name) {
  if (object.is_object() && object.contains(name) && object[name].is_string())
    object[name] = find_model(object[name].get<std::string>());
}

// The same in each element of a list.
void find_in_each(Json& object, const char* list, const char* name) {
  if (!object.is_object() || !object.contains(list) || !object[list].is_array()) return;
  for (Json& one : object[list]) find_in(one, name);
}

void find_models(Json& recipe) {
  find_in(recipe, "base_model");
  find_in_each(recipe, "models", "model");
  find_in_each(recipe, "rules", "copy");
  if (recipe.is_object() && recipe.contains("slices") && recipe["slices"].is_array()) {
    for (Json& slice : recipe["slices"]) find_in_each(slice, "sources", "model");
  }
  const bool is_base = recipe.is_object() && recipe.value("tokenizer_source", Json()) == "base";
  if (!is_base) find_in(recipe, "tokenizer_source");
}

Json read_recipe(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Failure(kInvalidInput, "reading " + path, "it cannot be opened");
  std::ostringstream text;
  text << file.rdbuf();
  Json recipe = ends_with(path, ".json") ? parse_json(text.str(), "reading " + path)
                                         : parse_yaml(text.str(), "reading " + path);
  find_models(recipe);
  return recipe;
}

// One recipe file, or the models themselves.
void set_inputs(const std::vector<std::string>& given, Json& options) {
  const std::string& first = given.front();
  const bool recipe =
      ends_with(first, ".yaml") || ends_with(first, ".yml") || ends_with(first, ".json");
  if (given.size() == 1 && recipe) {
    options["recipe"] = read_recipe(first);
    return;
  }
  options["models"] = Json::array();
  for (const std::string& model : given) options["models"].push_back(find_model(model));
}

}  // namespace

void add_merge(Program& program) {
  ToolVerb(program, "merge",
           "Merges checkpoints: slerp, linear, ties, dare, della and others of mergekit's methods",
           "mm2 merge A B --t-from scan.json -o OUT    or    mm2 merge recipe.yaml -o OUT")
      .values("inputs", "a recipe (.yaml, .json), or the models; the first is the base", set_inputs)
      .text("--method", "method", "slerp (default), lerp, nuslerp, linear, ties ...")
      .number("--t", "t", "share of the second model, 0 to 1")
      .text("--t-from", "t_from", "t of each tensor from a table of mm2 forensics --out")
      .text("--t-formula", "t_formula",
            "scan: t as it stands there (default); slurpy: from its deltas")
      .json("--weights", "weights", "one number for each model, like [0.5, 0.5]")
      .json("--parameters", "parameters", "of the method, like {\"density\": 0.5, \"lambda\": 1}")
      .text("--base", "base", "the base model, if it is not the first")
      .texts("--only", "only", "experts, attn, router, norm, embed, head; the rest is the base's")
      .text("--out-dtype", "out_dtype", "fp8block, bf16, f16, f32 (default: as the base has it)")
      .text("--scale-search", "scale_search", "scales of fp8: mse (default) or amax")
      .text("--arithmetic", "arithmetic",
            "f32 (default), or bf16 as mergekit has it for BF16 parents")
      .text("--tokenizer-from", "tokenizer_from", "the model whose tokenizer and template go along")
      .integer("--seed", "seed", "of dare and della")
      .writes()
      .done();
}

}  // namespace cli
