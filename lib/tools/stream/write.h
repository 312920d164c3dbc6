// Carrying out a plan: pieces in parallel within a memory limit, a journal of what is done, a folder
// that appears whole.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/executor.h"
#include "base/host.h"
#include "base/json.h"
#include "base/status.h"
#include "tools/stream/plan.h"

namespace mm2 {

struct WriteOptions {
  std::string verb;
  Json options;  // as the verb got them; resume starts it again with the same ones
  std::string out;
  uint64_t mem = uint64_t{3} << 29;  // 1.5 GiB for all workers together
  uint64_t max_shard = 5'000'000'000;
  bool dry_run = false;
  bool resume = false;
};

/// Writes the checkpoint that `plan` describes to options.out:
///
///   * the tensors, in shards of max_shard bytes, an index where there are several
///   * plan.files, and manifest.json: XXH3 digest of every tensor, recipe, parents
///
/// `report` gets what plan_report says, "out" and what plan.finish adds. With dry_run nothing is
/// written and the report says what would be. Bytes do not depend on threads or memory.
///
/// Errors: as OutputFolder::open and lay_out; Code::out_of_memory when a piece needs more than `mem`;
/// Code::cancelled when host.progress says so. After cancelled, io and out_of_memory the finished
/// pieces stay in OUT.partial for `resume`; after any other failure nothing is left. A resumed run
/// reads back and compares every piece that the journal says is done; a plan that is not the one that
/// was begun (another version, inputs that changed) is Code::format.
Status write_checkpoint(const WritePlan& plan, const WriteOptions& options, Executor& executor,
                        const Host& host, Json* report);

}  // namespace mm2
