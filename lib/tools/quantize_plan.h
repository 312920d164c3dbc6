// What becomes of each matrix when a checkpoint is quantized or widened: which ones are taken, what
// they share, which tensors they turn into.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tools/awq_folding.h"
#include "tools/calibrate/stats.h"
#include "tools/config_words.h"
#include "tools/derived.h"
#include "tools/quant_recipe.h"
#include "tools/stream/checkpoint_view.h"
#include "tools/stream/plan.h"

namespace mm2 {

struct QuantizeOptions {
  RecipeChoice choice;
  std::vector<std::string> ignore;  // globs of modules that become BF16, or stay plain
  std::string only;                 // "experts", "attention"; empty: both
  std::shared_ptr<const CalibrationStats> stats;  // Hessians, imatrix, amax; may be null
  std::string stats_path;
  bool errors = false;  // measure every matrix
  // AWQ: what is folded into norms and w3 is searched with this; null: planned without (a dry run)
  Executor* executor = nullptr;
};

/// Plans the tensors of `view` with its matrices in the layout of the recipe:
///
///   * matrices that share their inputs are one piece: q, k, v; w1 and w3. NVFP4 gives them one global
///     scale, GPTQ one factor of their Hessian
///   * matrices that are left out become BF16 (rounded once) or stay as they are where plain
///   * everything else is carried over; NVFP4 gets scales of activations: largest size / 2688 where
///     the statistics have it (of an expert without tokens: the largest of its peers), else 1
///
/// With `errors` the report gets "classes" and the checkpoint errors.json: relative L2, cosine, SQNR and
/// more of each matrix against what was read.
class QuantizePlan {
 public:
  /// All three outlive each other's use: pieces of the plan call back into this object.
  QuantizePlan(const CheckpointView& view, QuantizeOptions options, WritePlan& plan)
      : view_(view), options_(std::move(options)), plan_(plan), folding_(view) {}

  /// Code::invalid_argument: statistics of another model or without what the recipe wants;
  /// Code::unsupported names the matrix that the layout cannot take.
  Status run(const Host& host);
  const WrittenWeights& written() const { return written_; }
  size_t n_quantized() const { return n_quantized_; }
  /// Sets of matrices whose input channels AWQ scaled.
  size_t n_scaled() const { return folding_.n_scaled(); }

 private:
  // A matrix of a set and where its parts go.
  struct Member {
    const ViewWeight* weight = nullptr;
    PackSpec spec;
    std::vector<PlannedPart> parts;
    std::vector<uint32_t> tensors;  // as parts
    uint32_t input_scale = UINT32_MAX;
  };
  using Set = std::vector<Member>;

  Status check_stats() const;
  bool takes(const ViewWeight& weight) const;
  void add_plain(const ViewWeight& weight);
  Status add_matrix(const ViewWeight& weight);
  void add_input_scale(const ViewWeight& weight, Member& member);
  Result<float> input_scale(const ViewWeight& weight) const;
  void finish_set();
  Status run_set(const Set& set, PieceRun& run) const;
  Status run_member(const Member& member, const QuantContext& context, const QuantRecipe& recipe,
                    std::span<std::byte* const> memory, Json& note) const;

  const CheckpointView& view_;
  QuantizeOptions options_;
  WritePlan& plan_;
  WrittenWeights written_;
  std::shared_ptr<Set> set_;  // being gathered
  size_t n_quantized_ = 0;
  AwqFolding folding_;
};

/// Plans the weight as numbers of `dtype` under its official name, rounded to nearest even. With
/// `exact`, a number that would change is Code::check_failed; one that leaves the range of F16 is
/// Code::numeric always. Names tensor, row and column.
void plan_numbers(const CheckpointView& view, const ViewWeight& weight, Dtype dtype, bool exact,
                  WritePlan& plan);

/// Where plan.finish finds what pieces measured: classes into the report, matrices into errors.json.
void report_errors(WritePlan& plan);

}  // namespace mm2
