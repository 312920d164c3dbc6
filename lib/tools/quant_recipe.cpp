#include "tools/quant_recipe.h"

#include <array>
#include <optional>
#include <string>

#include "tools/option_reader.h"

namespace mm2 {
namespace {

constexpr std::array<std::string_view, 14> kNames = {
    "format",          "algo",       "rule",          "bits", "group",          "sym",
    "scale_dtype",     "arithmetic", "four_over_six", "damp", "damp_increment", "act_order",
    "act_group_aware", "mse_norm"};

template <typename Rule>
struct Named {
  std::string_view name;
  Rule rule;
};

constexpr Named<IntRule> kIntRules[] = {{"auto_round", IntRule::auto_round},
                                        {"auto_round_gptq", IntRule::auto_round_gptq},
                                        {"compressed_tensors", IntRule::compressed_tensors},
                                        {"gptqmodel", IntRule::gptqmodel}};
constexpr Named<GptqRule> kGptqRules[] = {{"gptqmodel", GptqRule::gptqmodel},
                                          {"llm_compressor", GptqRule::llm_compressor}};
constexpr Named<Fp8Rule> kFp8Rules[] = {
    {"amax", Fp8Rule::amax},        {"mse", Fp8Rule::mse},
    {"ue8m0", Fp8Rule::ue8m0},      {"deepgemm", Fp8Rule::deepgemm},
    {"slime", Fp8Rule::slime},      {"compressed_tensors", Fp8Rule::compressed_tensors},
    {"modelopt", Fp8Rule::modelopt}};
constexpr Named<Nvfp4Rule> kNvfp4Rules[] = {{"modelopt", Nvfp4Rule::modelopt},
                                            {"compressed_tensors", Nvfp4Rule::compressed_tensors}};
constexpr Named<MxRule> kMxRules[] = {{"compressed_tensors", MxRule::compressed_tensors},
                                      {"auto_round", MxRule::auto_round},
                                      {"auto_round_opt", MxRule::auto_round_opt},
                                      {"modelopt", MxRule::modelopt}};

/// Reads one object.
class RecipeReader {
 public:
  RecipeReader(std::string_view verb, const Json& options) : reader_(verb, options) {}

  Result<RecipeChoice> run() {
    std::string format;
    MM2_RETURN_IF_ERROR(reader_.text("format", format));
    if (format.empty()) return reader_.wrong("format", "must name a layout");
    auto dialect = named_dialect(format);
    if (!dialect.ok()) return reader_.wrong("format", "must be a layout: " + known());
    to_.recipe.dialect = *dialect;
    MM2_RETURN_IF_ERROR(common());
    switch (scheme_of(**dialect).codes) {
      case CodeType::integer:
        MM2_RETURN_IF_ERROR(integers());
        break;
      case CodeType::e2m1:
        if (scheme_of(**dialect).group == kMxGroup) {
          MM2_RETURN_IF_ERROR(mx(4));
        } else {
          MM2_RETURN_IF_ERROR(nvfp4());
        }
        break;
      default:
        if (scheme_of(**dialect).group == kMxGroup) {
          MM2_RETURN_IF_ERROR(mx(8));
        } else {
          MM2_RETURN_IF_ERROR(fp8());
        }
    }
    return to_;
  }

 private:
  static std::string known() {
    std::string all;
    for (const Dialect& dialect : dialects()) {
      all += join(all.empty() ? "" : ", ", dialect.name);
    }
    return all;
  }

  Status common() {
    static constexpr std::string_view kAlgos[] = {"rtn", "opt-rtn", "gptq", "awq"};
    static constexpr std::string_view kTypes[] = {"f32", "bf16"};
    static constexpr std::string_view kScales[] = {"F32", "BF16", "F16"};
    MM2_RETURN_IF_ERROR(reader_.word("algo", kAlgos, algo_));
    MM2_RETURN_IF_ERROR(reader_.text("rule", rule_));
    std::string type = "f32", scales = "F32";
    MM2_RETURN_IF_ERROR(reader_.word("arithmetic", kTypes, type));
    arithmetic_ = type == "bf16" ? Arithmetic::bf16 : Arithmetic::f32;
    MM2_RETURN_IF_ERROR(reader_.word("scale_dtype", kScales, scales));
    to_.recipe.scale_dtype = dtype_from_name(scales).value_or(Dtype::f32);
    return {};
  }

  template <typename Rule, size_t kN>
  Status pick(const Named<Rule> (&rules)[kN], Rule& to) const {
    if (rule_.empty()) return {};
    std::string all;
    for (const Named<Rule>& named : rules) {
      if (named.name == rule_) {
        to = named.rule;
        return {};
      }
      all += join(all.empty() ? "" : ", ", named.name);
    }
    return reader_.wrong("rule", "must be one of " + all + " here");
  }

  Status integers() {
    const std::string_view name = to_.recipe.dialect->name;
    IntOptions o{.arithmetic = arithmetic_};
    o.symmetric = name != "awq";
    if (name.starts_with("gptq")) o.rule = IntRule::gptqmodel;
    if (name == "ct_packed") o.rule = IntRule::compressed_tensors;
    MM2_RETURN_IF_ERROR(reader_.integer("bits", 2, 8, o.bits));
    MM2_RETURN_IF_ERROR(reader_.integer("group", 0, INT32_MAX, o.group));
    MM2_RETURN_IF_ERROR(reader_.boolean("sym", o.symmetric));
    if (algo_ == "gptq") {
      MM2_RETURN_IF_ERROR(gptq(name == "ct_packed", o.group));
    } else {
      MM2_RETURN_IF_ERROR(pick(kIntRules, o.rule));
    }
    to_.awq = algo_ == "awq";
    if (algo_ == "opt-rtn") {
      if (!rule_.empty() && rule_ != "auto_round") {
        return reader_.wrong("rule", "must be auto_round with algo opt-rtn");
      }
      if (!o.symmetric) return reader_.wrong("sym", "must be true with algo opt-rtn");
      o.rule = IntRule::auto_round_opt;
    }
    to_.recipe.rule = o;
    return {};
  }

  Status gptq(bool llm_compressor, int64_t group) {
    GptqOptions o;
    o.rule = llm_compressor ? GptqRule::llm_compressor : GptqRule::gptqmodel;
    MM2_RETURN_IF_ERROR(pick(kGptqRules, o.rule));
    MM2_RETURN_IF_ERROR(reader_.number("mse_norm", 0, 100, o.mse_norm));
    MM2_RETURN_IF_ERROR(reader_.number("damp", 0, 1, to_.hessian.damp));
    MM2_RETURN_IF_ERROR(reader_.number("damp_increment", 0, 1, to_.hessian.damp_increment));
    bool act_order = false;
    MM2_RETURN_IF_ERROR(reader_.boolean("act_order", act_order));
    bool group_aware = !act_order;
    MM2_RETURN_IF_ERROR(reader_.boolean("act_group_aware", group_aware));
    if (act_order && group_aware) {
      return reader_.wrong("act_group_aware", "must be false with act_order");
    }
    // llm-compressor's columns keep their groups in any order
    const bool columns = act_order || (group_aware && o.rule == GptqRule::llm_compressor);
    to_.hessian.rule = o.rule;
    to_.hessian.order = columns       ? ColumnOrder::columns
                        : group_aware ? ColumnOrder::groups
                                      : ColumnOrder::natural;
    to_.hessian.group = group;
    to_.recipe.ordered = act_order;
    to_.recipe.gptq = o;
    return {};
  }

  // Everything but integers is rounded to nearest.
  Status only_rtn() const {
    return algo_ == "rtn"
               ? Status()
               : reader_.wrong("algo", join("must be rtn for ", to_.recipe.dialect->name));
  }

  Status nvfp4() {
    MM2_RETURN_IF_ERROR(only_rtn());
    Nvfp4Options o{.arithmetic = arithmetic_};
    if (scheme_of(*to_.recipe.dialect).global_scale_divides) {
      o.rule = Nvfp4Rule::compressed_tensors;
    }
    const Nvfp4Rule of_layout = o.rule;
    MM2_RETURN_IF_ERROR(pick(kNvfp4Rules, o.rule));
    if (o.rule != of_layout) {
      return reader_.wrong("rule",
                           "must be that of the layout: the other one's scale means another "
                           "number (repack converts)");
    }
    MM2_RETURN_IF_ERROR(reader_.boolean("four_over_six", o.four_over_six));
    to_.recipe.rule = o;
    return {};
  }

  Status mx(int bits) {
    MM2_RETURN_IF_ERROR(only_rtn());
    MxOptions o{.bits = bits, .arithmetic = arithmetic_};
    MM2_RETURN_IF_ERROR(pick(kMxRules, o.rule));
    if (bits == 8 && o.rule == MxRule::modelopt) {
      return reader_.wrong("rule", "must not be modelopt for mxfp8");
    }
    to_.recipe.rule = o;
    return {};
  }

  Status fp8() {
    MM2_RETURN_IF_ERROR(only_rtn());
    Fp8Options o{.arithmetic = arithmetic_};
    const std::string_view name = to_.recipe.dialect->name;
    if (name != "fp8_block") o.rule = Fp8Rule::compressed_tensors;
    if (name == "fp8_row") o.block_rows = 1, o.block_cols = 0;
    if (name == "fp8_matrix") o.block_rows = 0, o.block_cols = 0;
    MM2_RETURN_IF_ERROR(pick(kFp8Rules, o.rule));
    to_.recipe.rule = o;
    return {};
  }

  OptionReader reader_;
  RecipeChoice to_;
  std::string algo_ = "rtn", rule_;
  Arithmetic arithmetic_ = Arithmetic::f32;
};

}  // namespace

std::span<const std::string_view> quant_recipe_names() {
  return kNames;
}

Result<RecipeChoice> read_quant_recipe(std::string_view verb, const Json& options) {
  return RecipeReader(verb, options).run();
}

}  // namespace mm2
