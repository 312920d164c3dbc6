// A model of this family as Megatron holds it on its ranks, told as moves of blocks between tensors:
// nothing here computes a weight, so a writer can carry the moves out on bytes of any type.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace mm2 {

/// How the full-width QK-norms are called and split: slime `q_norm`, whole on every rank;
/// Megatron-Bridge `q_layernorm`, split with the heads.
enum class MegatronNames : uint8_t { slime, bridge };

struct MegatronModel {
  int32_t n_layers = 0, hidden = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0;
  int32_t n_experts = 0, intermediate = 0, n_vocab = 0;
  bool tied = false;           // no lm_head of its own
  bool fp8_attention = false;  // q, k, v, o_proj are FP8 codes with scales of 128 x 128 blocks
  bool fp8_experts = false;

  int64_t q_width() const { return int64_t{n_heads} * head_dim; }
  int64_t kv_width() const { return int64_t{n_kv_heads} * head_dim; }
};

struct ParallelShape {
  int32_t tp = 1, pp = 1, ep = 1;
  int32_t etp = 1;                              // tensor parallelism inside an expert
  int32_t vpp = 1;                              // model chunks of each pipeline stage
  int32_t first_layers = -1, last_layers = -1;  // of the first and last stage; -1: like the others
  int32_t pad_vocab = 128;  // the vocabulary is filled up to a multiple of pad_vocab * tp
};

/// Code::invalid_argument, with dimension, number and parts, for everything that does not divide: what
/// converters split unevenly without a word. FP8 also wants head_dim, and intermediate / etp, to be
/// multiples of 128, since a block must not straddle heads or ranks.
Status check_layout(const MegatronModel& model, const ParallelShape& parallel);

/// Rows of embedding and output layer over all ranks together.
int64_t padded_vocab(int32_t n_vocab, const ParallelShape& parallel);

/// Layers [first, first + n) of a chunk of a pipeline stage.
struct LayerRange {
  int32_t first = 0, n = 0;
};
LayerRange stage_layers(const MegatronModel& model, const ParallelShape& parallel, int32_t pp_rank,
                        int32_t chunk);

struct MegatronRank {
  int32_t pp = 0, tp = 0, ep = 0, etp = 0;
  bool operator==(const MegatronRank&) const = default;
};
/// By stage, then expert rank, then tensor rank. Where tp and etp both exceed 1, a rank counts in both
/// (one divides the other).
std::vector<MegatronRank> all_ranks(const ParallelShape& parallel);
/// "mp_rank_01", "mp_rank_01_000" with a pipeline, "mp_rank_01_000_003" with expert ranks.
std::string rank_folder(const MegatronRank& rank, const ParallelShape& parallel);

/// Elements [row, row + n_rows) x [col, col + n_cols) of one tensor are those of another from
/// (hf_row, hf_col) on. Vectors are matrices of one column.
struct BlockMove {
  std::string hf;  // the tensor of the checkpoint: "model.layers.0.self_attn.q_proj.weight"
  int64_t hf_row = 0, hf_col = 0;
  int64_t row = 0, col = 0;
  int64_t n_rows = 0, n_cols = 0;
  int64_t hf_cols = 1;  // width of that tensor
};

/// A tensor of a rank. What no move covers is zero (padding of the vocabulary).
struct MegatronTensor {
  std::string name;         // layer and expert numbers of this rank
  std::string global_name;  // layer and expert numbers of the model
  int32_t chunk = 0;        // of the stage
  int64_t n_rows = 0, n_cols = 1;
  bool is_vector = false;
  std::vector<BlockMove> moves;
};

/// Everything that a rank holds, FP8 scales as tensors called "<weight>_scale_inv". The layout must
/// have passed check_layout.
std::vector<MegatronTensor> rank_tensors(const MegatronModel& model, const ParallelShape& parallel,
                                         MegatronNames names, const MegatronRank& rank);

/// A tensor of the checkpoint and where its blocks lie on the ranks.
struct HfTensor {
  struct From {
    int32_t rank = 0;    // place in the ranks
    int32_t tensor = 0;  // place in the tensors of that rank
    int64_t row = 0, col = 0;
    int64_t hf_row = 0, hf_col = 0;
    int64_t n_rows = 0, n_cols = 0;
  };
  std::string name;
  int64_t n_rows = 0, n_cols = 1;
  bool is_vector = false;
  std::vector<From> from;
};

/// The way back: every tensor of the checkpoint, each block from the first rank that holds it.
/// Code::internal when the ranks do not cover a tensor exactly once.
Result<std::vector<HfTensor>> assemble(const MegatronModel& model,
                                       std::span<const std::vector<MegatronTensor>> ranks);

/// Names and extents of all tensors of the checkpoint, in the order of the model.
std::vector<HfTensor> hf_tensors(const MegatronModel& model);

}  // namespace mm2
