// One pass over the data of all tensors of a checkpoint, tensors in parallel, memory bounded by
// threads.
#pragma once

#include <string>
#include <vector>

#include "base/executor.h"
#include "base/host.h"
#include "tensor/source.h"
#include "tools/tool_options.h"
#include "tools/value_scan.h"

namespace mm2 {

struct TensorFinding {
  ValueCounts values;  // of a type that has special values
  std::string digest;  // empty without hash
};

/// Findings as source.tensors(). Needs one buffer of 4 MiB per worker. Reports bytes to
/// host.progress; Code::cancelled when it says so; the first failed read otherwise.
Result<std::vector<TensorFinding>> pass_over_tensors(const TensorSource& source, bool scan,
                                                     HashKind hash, Executor& executor,
                                                     const Host& host);

}  // namespace mm2
