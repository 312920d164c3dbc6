// What the verbs around Megatron share: options, a checkpoint as sources of bytes, moves carried out.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/json.h"
#include "base/status.h"
#include "tools/megatron/byte_runs.h"
#include "tools/megatron/layout.h"
#include "tools/option_reader.h"
#include "tools/stream/checkpoint_view.h"

namespace mm2 {

struct MegatronOptions {
  ParallelShape parallel;
  MegatronNames names = MegatronNames::slime;
  std::string format = "torch";  // or "safetensors"
};

/// The names of these options: tp, pp, ep, etp, vpp, first_layers, last_layers, pad_vocab, names, format.
std::span<const std::string_view> megatron_option_names();
Status read_megatron_options(const OptionReader& reader, MegatronOptions& to);
Json megatron_options_json(const MegatronOptions& options);

/// The dimensions of a configuration; fp8 flags are the caller's.
MegatronModel megatron_model(const ModelConfig& config);

/// A stretch of a tensor somewhere that is a dense matrix.
struct MatrixBytes {
  const TensorSource* source = nullptr;
  const TensorInfo* tensor = nullptr;
  uint64_t from = 0;  // byte in the tensor
  Dtype dtype = Dtype::f32;
};

/// The weights of a checkpoint that is plain or FP8 in blocks of 128, by official name; FP8 scales as
/// "<weight>_scale_inv". Points into the view.
class HfSource {
 public:
  /// Code::unsupported: other formats; layers that are stored differently from each other.
  static Result<HfSource> open(const CheckpointView& view);

  const MegatronModel& model() const { return model_; }
  /// Null when there is none.
  const MatrixBytes* find(std::string_view name) const;

 private:
  Status add(const CheckpointView& view, const ViewWeight& weight);

  MegatronModel model_;
  absl::flat_hash_map<std::string, MatrixBytes> by_name_;
};

/// A rectangle of a matrix that becomes one of the output.
struct MatrixMove {
  MatrixBytes from;
  Rectangle rectangle;
};

/// A tensor to be written, with all that goes into it; elsewhere it is zero.
struct MovedTensor {
  std::string name;
  Dtype dtype = Dtype::f32;
  Shape shape;
  std::vector<MatrixMove> moves;
};

/// The tensors of a rank with their sources. Code::format where parts of one tensor differ in type.
Result<std::vector<MovedTensor>> moved_tensors(const HfSource& source,
                                               const std::vector<MegatronTensor>& tensors);

/// Bytes of scratch that rows of the tensor need at most.
uint64_t scratch_of(const MovedTensor& tensor, int64_t n_rows);

/// Fills rows [first_row, first_row + n_rows) of the output; `to` and `scratch` are large enough.
Status carry_out(const MovedTensor& tensor, int64_t first_row, int64_t n_rows, std::byte* to,
                 std::byte* scratch);

/// Rows of a slab that needs about 8 MiB with its scratch, at least 1.
int64_t moved_slab_rows(const MovedTensor& tensor);

}  // namespace mm2
