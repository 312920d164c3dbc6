// Files of ranks written one after the other into a folder that appears whole, several at a time;
// finished files survive a kill.
#pragma once

#include <string>
#include <vector>

#include "base/executor.h"
#include "base/host.h"
#include "base/json.h"
#include "tools/megatron_io.h"
#include "tools/stream/write.h"

namespace mm2 {

struct RankFile {
  std::string path;  // inside the folder: "release/mp_rank_00/model_optim_rng.pt"
  struct Group {
    std::string name;  // "model", or "model0" ... for chunks of a stage
    std::vector<MovedTensor> tensors;
  };
  std::vector<Group> groups;

  uint64_t bytes() const;
};

/// Writes the files (a name that ends in .pt in torch's format, else safetensors, where a tensor of
/// several groups is called GROUP.NAME), then `plan.files` and manifest.json. `plan` says inputs,
/// parents and recipe. Errors as write_checkpoint; a resumed run checks finished files by their digests.
Status write_rank_files(const std::vector<RankFile>& files, const WritePlan& plan,
                        const WriteOptions& options, Executor& executor, const Host& host,
                        Json* report);

}  // namespace mm2
