// Recomputes every operation of a step from what the device itself put into it, with doubt: so an error
// is found in the operation that made it, and bounds stay those of one operation. Where kernels of many
// operations in one show nothing in between, doubt is carried through the layers instead: from the
// tokens, with the keys and values that the device stored and the experts that it chose.
#pragma once

#include <map>
#include <string>

#include "cuda_check/doubt.h"
#include "cuda_check/runs.h"

namespace check {

/// The worst ratio of error to bound of each operation, over all that was judged.
using Verdicts = std::map<std::string, double>;

class Referee {
 public:
  Referee(const HostModel& model, const Setup& setup, const Licence& licence)
      : model_(model), setup_(setup), licence_(licence) {}

  /// before: the sequences' lengths at the beginning of the step. Reads the cache through `runner`.
  void judge(Runner& runner, const std::vector<Part>& parts, const std::vector<int32_t>& before,
             const Seen& seen, Verdicts& verdicts) const;

 private:
  struct Token {
    int32_t sequence, position, row;  // row: in the step
    int32_t id;
    int32_t output;  // row of logits, or -1
  };
  using Stored = std::map<int32_t, std::vector<float>>;  // of a sequence: read_positions as numbers

  std::vector<Token> tokens_of(const std::vector<Part>& parts,
                               const std::vector<int32_t>& before) const;
  const float* row_of(const Seen& seen, const std::string& name, int32_t layer, int32_t row) const;
  Stored read_cache(Runner& runner, const std::vector<Part>& parts) const;
  void judge_embedding(const Seen& seen, const Token& t, Verdicts& verdicts) const;
  void judge_qkv(const Seen& seen, const Token& t, int32_t layer, Verdicts& verdicts) const;
  void judge_stored(Runner& runner, const Seen& seen, const Token& t, int32_t layer,
                    const Stored& stored, Verdicts& verdicts) const;
  void judge_attention(Runner& runner, const Seen& seen, const Token& t, int32_t layer,
                       const Stored& stored, Verdicts& verdicts) const;
  Row attend(Runner& runner, const Row& q, const std::vector<float>& stored, int32_t layer,
             int32_t head, int32_t length) const;
  void judge_experts_half(const Seen& seen, const Token& t, int32_t layer,
                          Verdicts& verdicts) const;
  void judge_router(const Seen& seen, const Token& t, int32_t layer, Verdicts& verdicts) const;
  struct Qkv {
    Row q, k, v;
  };
  Qkv qkv_of(const Row& h, int32_t layer, int32_t position) const;
  Row attention_of(Runner& runner, const Row& q, const Token& t, int32_t layer,
                   const Stored& stored) const;
  /// Weights of the experts that were chosen; nothing where another choice was right.
  Row router_of(const Row& x, int32_t layer, const int32_t* ids) const;
  Row experts_of(const Row& h, const Row& x, int32_t layer, const int32_t* ids,
                 const Row& weights) const;
  void judge_own_stored(Runner& runner, const Qkv& qkv, const Token& t, int32_t layer,
                        const Stored& stored, Verdicts& verdicts) const;
  void judge_through(Runner& runner, const Seen& seen, const Token& t, const Stored& stored,
                     Verdicts& verdicts) const;
  void judge_head(const Seen& seen, const Token& t, Verdicts& verdicts) const;

  const HostModel& model_;
  Setup setup_;
  Licence licence_;
};

}  // namespace check
