// Packed weights in a file of their own: the next load maps it instead of reading, decoding and packing
// the checkpoint. The file is named by a hash of everything that decides its bytes, and holds hashes of
// them; what does not match in any way is not used.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/host.h"
#include "format/checkpoint.h"
#include "kernels/api/backend.h"
#include "model/weight_plan.h"

namespace mm2 {

class PackedCache {
 public:
  /// The cache of this plan in `folder`. Hashed are the names, sizes and times of the shards, their
  /// list of tensors, where the plan puts them and how, and the ends of each weight's bytes: a shard
  /// that was written anew has another cache. Code::unsupported for files that are not in the file
  /// system, which have no time; Code::io.
  static Result<PackedCache> locate(const std::string& folder, const WeightPlan& plan,
                                    const Checkpoint& checkpoint, const kernels::Backend& backend);

  const std::string& path() const { return path_; }

  struct Contents {
    std::shared_ptr<SourceFile> file;   // keeps `memory` mapped
    const std::byte* memory = nullptr;  // [plan.owned_bytes]
    std::vector<float> global_scales;   // of each weight of the plan
  };
  /// What a former load has written. All of it is read and compared with its hashes, in parallel.
  /// Code::not_found: there is none; Code::format: damaged or of another plan, says how.
  Result<Contents> read(Executor& executor) const;

  /// Writes the file whole or not at all.
  Status write(std::span<const std::byte> memory, std::span<const float> global_scales,
               Executor& executor) const;

 private:
  struct Key {
    uint64_t low, high;
  };

  std::string path_;
  Key key_{};
  uint64_t owned_bytes_ = 0;
  size_t n_weights_ = 0;
};

}  // namespace mm2
