// What the ranks of a sharded model say to each other. Engines see this interface only; who carries
// the bytes (nobody, threads of this process, later NCCL or MPI) is chosen by the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"

namespace mm2 {

/// One rank's end of a group. Every rank must make the same calls in the same order with the same
/// counts. An object is used by one thread at a time.
///
/// Errors: invalid_argument when the ranks' counts or calls differ; cancelled when any rank called
/// stop(). Both are sticky: every rank gets the same status from this call on, none is left
/// waiting, and the buffers of the failed call keep what they held.
class Collectives {
 public:
  virtual ~Collectives() = default;

  /// In [0, n_ranks()).
  virtual int32_t rank() const = 0;
  virtual int32_t n_ranks() const = 0;

  /// Replaces `values` on every rank by the sum over ranks, added one by one in ascending rank, so
  /// that all ranks hold the same bits and a repetition gives them again.
  virtual Status all_reduce_sum(std::span<float> values) = 0;
  virtual Status all_reduce_sum(std::span<double> values) = 0;

  /// all: [n_ranks, mine.size()], the ranks' `mine` in ascending rank. `mine` may be the caller's
  /// own part of `all`.
  virtual Status all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;

  /// Returns once every rank has called it.
  virtual Status barrier() = 0;

  /// Ends the group: whoever waits, on any rank, gets `cancelled`. From any thread, at any time.
  virtual void stop() = 0;
};

/// The group of one: nothing is copied, nobody is waited for.
std::unique_ptr<Collectives> one_rank();

/// A group of n_ranks ends inside this process, each for a thread of its own. The ends share what
/// they need; destroying one does not end the group (stop() does). n_ranks in [1, 1024].
Result<std::vector<std::unique_ptr<Collectives>>> in_process_ranks(int32_t n_ranks);

}  // namespace mm2
