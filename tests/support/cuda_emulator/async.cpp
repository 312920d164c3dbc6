// mbarriers and copies that are done later than they are asked for.
#include <string.h>

#include <algorithm>

#include "cuda_emulator/launch.h"

namespace cuda_emulator {
namespace {

/// What the 64 bits of an mbarrier are here; on a device nobody may know.
struct State {
  int32_t transactions;  // bytes that are expected and have not come
  uint16_t count;        // arrivals of each phase
  uint16_t pending : 15;
  uint16_t phase : 1;
};
static_assert(sizeof(State) == 8);
constexpr unsigned kMostArrivals = 1024;

State read(const uint64_t* barrier) {
  check_shared(barrier, 8, "an mbarrier");
  State state;
  memcpy(&state, barrier, 8);
  if (state.count == 0 || state.count > kMostArrivals) fail("an mbarrier is not initialised");
  return state;
}

// Ends the phase if nothing is missing.
void write(uint64_t* barrier, State state) {
  if (state.pending == 0 && state.transactions == 0) {
    state.pending = state.count & 0x7FFFu;
    state.phase = static_cast<uint16_t>(state.phase ^ 1u) & 1u;
    progress();
  }
  memcpy(barrier, &state, 8);
}

void do_copies(Block& block, const uint64_t* barrier) {
  std::vector<LaterCopy>& copies = block.copies;
  for (size_t i = 0; i < copies.size();) {
    if (copies[i].barrier != barrier) {
      ++i;
      continue;
    }
    const LaterCopy copy = copies[i];
    copies.erase(copies.begin() + static_cast<std::ptrdiff_t>(i));
    memcpy(copy.to, copy.from, copy.n_bytes);
    State state = read(copy.barrier);
    state.transactions -= static_cast<int32_t>(copy.n_bytes);
    write(copy.barrier, state);
  }
}

Block& block() {
  return *here().current->block;
}

}  // namespace

void* shared_memory() {
  return block().shared;
}

size_t shared_bytes() {
  return here().config.shared_bytes;
}

void check_shared(const void* at, size_t n_bytes, const char* what) {
  const char* base = block().shared;
  const char* from = static_cast<const char*>(at);
  if (from < base || from + n_bytes > base + shared_bytes()) {
    fail("%s of %zu bytes at %td of shared memory, which has %zu", what, n_bytes, from - base,
         shared_bytes());
  }
}

void mbarrier_init(uint64_t* barrier, unsigned count) {
  check_shared(barrier, 8, "an mbarrier");
  if (count == 0 || count > kMostArrivals) fail("an mbarrier for %u arrivals", count);
  State state{};
  state.count = static_cast<uint16_t>(count);
  state.pending = count & 0x7FFFu;
  memcpy(barrier, &state, 8);
}

void mbarrier_arrive(uint64_t* barrier, unsigned count, unsigned transaction_bytes) {
  State state = read(barrier);
  if (count > state.pending) fail("more arrivals at an mbarrier than its %u", state.count);
  state.transactions += static_cast<int32_t>(transaction_bytes);
  state.pending = (state.pending - count) & 0x7FFFu;
  write(barrier, state);
}

bool mbarrier_passed(uint64_t* barrier, unsigned parity) {
  if (read(barrier).phase == (parity & 1u)) do_copies(block(), barrier);
  return read(barrier).phase != (parity & 1u);
}

void mbarrier_wait(uint64_t* barrier, unsigned parity) {
  if (mbarrier_passed(barrier, parity)) return;
  wait_until([barrier, parity] { return mbarrier_passed(barrier, parity); },
             "a wait for an mbarrier");
}

void copy_later(void* to, const void* from, size_t n_bytes, uint64_t* barrier) {
  if (n_bytes == 0 || n_bytes % 16 != 0) fail("a bulk copy of %zu bytes: not 16s", n_bytes);
  if (reinterpret_cast<uintptr_t>(to) % 16 != 0 || reinterpret_cast<uintptr_t>(from) % 16 != 0) {
    fail("a bulk copy from %p to %p: not at multiples of 16", from, to);
  }
  check_shared(to, n_bytes, "a bulk copy");
  check_device(from, n_bytes, "a bulk copy");
  read(barrier);
  block().copies.push_back({to, from, n_bytes, barrier});
}

void copy_in_group(void* to, const void* from, size_t n_bytes) {
  check_shared(to, n_bytes, "cp.async");
  Thread& thread = *here().current;
  thread.copies.push_back({to, from, n_bytes, thread.group});
}

void commit_group() {
  ++here().current->group;
}

void wait_groups(unsigned n_left) {
  Thread& thread = *here().current;
  const int64_t end = thread.group - int64_t{n_left};
  std::vector<GroupCopy> later;
  for (const GroupCopy& copy : thread.copies) {
    if (copy.group >= end) {
      later.push_back(copy);
    } else if (copy.from == nullptr) {
      memset(copy.to, 0, copy.n_bytes);
    } else {
      memcpy(copy.to, copy.from, copy.n_bytes);
    }
  }
  thread.copies = later;
  progress();
}

}  // namespace cuda_emulator
