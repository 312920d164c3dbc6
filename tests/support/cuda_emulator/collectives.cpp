// Threads that meet: barriers of a block, operations of a warp.
#include <string.h>

#include "cuda_emulator/launch.h"

namespace cuda_emulator {
namespace {

// The lane whose value `lane` gets, or itself where that is outside its part of the warp.
unsigned source_of(const Meeting& m, unsigned lane) {
  const unsigned width = m.widths[lane], by = m.lanes[lane];
  const unsigned first = lane & ~(width - 1), last = first + width - 1;
  switch (m.op) {
    case WarpOp::kShuffle:
      return first + (by & (width - 1));
    case WarpOp::kShuffleUp:
      return lane < first + by ? lane : lane - by;
    case WarpOp::kShuffleDown:
      return lane + by > last ? lane : lane + by;
    default:
      return (lane ^ by) > last ? lane : lane ^ by;
  }
}

uint64_t reduced(const Meeting& m) {
  uint64_t result = 0;
  bool first = true;
  for (unsigned i = 0; i < 32; ++i) {
    if ((m.mask >> i & 1u) == 0) continue;
    const uint64_t x = m.values[i];
    const bool greater = static_cast<int64_t>(x) > static_cast<int64_t>(result);
    switch (m.op) {
      case WarpOp::kBallot:
        result |= x << i;
        break;
      case WarpOp::kAdd:
        result += x;
        break;
      case WarpOp::kMax:
        if (first || greater) result = x;
        break;
      case WarpOp::kMin:
        if (first || !greater) result = x;
        break;
      case WarpOp::kAnd:
        result = first ? x : result & x;
        break;
      default:
        result |= x;
    }
    first = false;
  }
  return result;
}

bool is_shuffle(WarpOp op) {
  return op >= WarpOp::kShuffle && op <= WarpOp::kShuffleXor;
}

// Everybody is there: each thread of the warp gets its result.
void complete(Block& block, unsigned warp, const Meeting& m) {
  const uint64_t all = is_shuffle(m.op) ? 0 : reduced(m);
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((m.mask >> lane & 1u) == 0) continue;
    Thread& thread = block.threads[32 * warp + lane];
    thread.result = all;
    if (!is_shuffle(m.op)) continue;
    const unsigned source = source_of(m, lane);
    if ((m.mask >> source & 1u) == 0) {
      fail("a shuffle reads lane %u, which is not in its mask 0x%08x", source, m.mask);
    }
    thread.result = m.values[source];
  }
}

bool is_open(const Barrier& barrier, uint64_t generation) {
  return barrier.generation != generation;
}

}  // namespace

uint64_t warp(WarpOp op, unsigned mask, uint64_t value, unsigned lane_argument, unsigned width) {
  Running& run = here();
  Thread& thread = *run.current;
  Block& block = *thread.block;
  const unsigned index = thread.rank / 32, lane = thread.rank % 32;
  const unsigned n_left = static_cast<unsigned>(block.threads.size()) - 32 * index;
  if (n_left < 32) mask &= (1u << n_left) - 1;  // lanes that never were
  if ((mask >> lane & 1u) == 0) fail("lane %u is not in its own mask 0x%08x", lane, mask);
  if (width == 0 || width > 32 || (width & (width - 1)) != 0) fail("width %u of a shuffle", width);
  for (unsigned i = 0; i < 32; ++i) {
    if ((mask >> i & 1u) != 0 && block.threads[32 * index + i].done) {
      fail("lane %u of mask 0x%08x has ended", i, mask);
    }
  }
  std::vector<Meeting>& meetings = block.meetings[index];
  size_t at = 0;
  while (at < meetings.size() && meetings[at].mask != mask) ++at;
  if (at == meetings.size()) meetings.push_back({op, mask, 0, {}, {}, {}});
  Meeting& m = meetings[at];
  if (m.op != op) fail("lanes of mask 0x%08x are in different operations of their warp", mask);
  m.arrived |= 1u << lane;
  m.values[lane] = value;
  m.lanes[lane] = lane_argument;
  m.widths[lane] = width;
  if (m.arrived != mask) {
    thread.result = 0;
    // The last one takes the meeting off the list. A new one with this mask may have begun then, but
    // not with this lane.
    wait_until(
        [&meetings, mask, lane] {
          for (const Meeting& open : meetings) {
            if (open.mask == mask && (open.arrived >> lane & 1u) != 0) return false;
          }
          return true;
        },
        "an operation of a warp");
    return thread.result;
  }
  const Meeting whole = m;
  meetings.erase(meetings.begin() + static_cast<std::ptrdiff_t>(at));
  ++run.n_changes;
  complete(block, index, whole);
  return thread.result;
}

void show(const uint32_t (&own)[4], unsigned first, unsigned n, uint32_t (*lanes)[4]) {
  Thread& thread = *here().current;
  const unsigned at = thread.n_shown++ % 2;
  memcpy(thread.shown[at], own, sizeof(own));
  warp(WarpOp::kSync, ~0u, 0, 0, 32);
  // Nobody writes it again before the next but one, for which this lane is waited for.
  const Thread* from = thread.block->threads.data() + thread.rank / 32 * 32 + first;
  for (unsigned i = 0; i < n; ++i) memcpy(lanes[i], from[i].shown[at], sizeof(own));
}

void open_barrier(Block& block, unsigned id) {
  Barrier& barrier = block.barriers[id];
  const unsigned wanted = id == 0 ? block.n_alive : barrier.count;
  if (barrier.arrived == 0 || barrier.arrived < wanted) return;
  barrier.arrived = 0;
  barrier.count = 0;
  barrier.last_sum = barrier.sum;
  barrier.sum = 0;
  ++barrier.generation;
  ++here().n_changes;
}

int sync_threads_count(int value) {
  Block& block = *here().current->block;
  Barrier& barrier = block.barriers[0];
  const uint64_t generation = barrier.generation;
  ++barrier.arrived;
  barrier.sum += value != 0 ? 1 : 0;
  open_barrier(block, 0);
  wait_until([&] { return is_open(barrier, generation); }, "__syncthreads");
  return barrier.last_sum;
}

void sync_threads() {
  sync_threads_count(0);
}

void named_barrier(unsigned id, unsigned count, bool waits) {
  Block& block = *here().current->block;
  if (id == 0 || id > 15) fail("barrier %u: 1 to 15 may be used", id);
  if (count == 0 || count % 32 != 0) fail("barrier %u for %u threads: not whole warps", id, count);
  Barrier& barrier = block.barriers[id];
  if (barrier.count != 0 && barrier.count != count) {
    fail("barrier %u for %u threads and for %u", id, barrier.count, count);
  }
  const uint64_t generation = barrier.generation;
  barrier.count = count;
  ++barrier.arrived;
  open_barrier(block, id);
  if (waits) wait_until([&] { return is_open(barrier, generation); }, "a named barrier");
}

}  // namespace cuda_emulator
