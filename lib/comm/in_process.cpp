// Ranks as threads of one process. A collective has two meetings: between them everybody may touch
// everybody's buffers; after the second they belong to their callers again.
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "base/checked.h"
#include "comm/collectives.h"

namespace mm2 {
namespace {

constexpr int32_t kMaxRanks = 1024;

enum class Call : int32_t { sum_float, sum_double, gather, barrier };

const char* name_of(Call call) {
  switch (call) {
    case Call::sum_float:
      return "all_reduce_sum of floats";
    case Call::sum_double:
      return "all_reduce_sum of doubles";
    case Call::gather:
      return "all_gather";
    case Call::barrier:
      return "barrier";
  }
  return "?";
}

/// What one rank brings to a collective.
struct Offer {
  Call call = Call::barrier;
  void* data = nullptr;
  size_t count = 0;  // elements, for gather bytes
  size_t room = 0;   // gather: bytes for everybody's parts
};

class Group {
 public:
  explicit Group(int32_t n_ranks) : offers_(static_cast<size_t>(n_ranks)) {}

  int32_t n_ranks() const { return static_cast<int32_t>(offers_.size()); }
  const Offer& offer(int32_t rank) const { return offers_[static_cast<size_t>(rank)]; }

  /// Waits for all ranks' offers. After success offer() and the buffers may be used until leave(),
  /// which every rank then calls.
  Status enter(int32_t rank, const Offer& offer) {
    std::unique_lock lock(mutex_);
    MM2_RETURN_IF_ERROR(failure_);
    offers_[static_cast<size_t>(rank)] = offer;
    if (n_waiting_ + 1 == n_ranks()) failure_ = compare();
    const uint64_t round = round_;
    arrive();
    changed_.wait(lock, [&] { return round_ != round || !failure_.ok(); });
    // A meeting that took place counts, even if the group was stopped right after it.
    return round_ != round && failure_.code() == Code::cancelled ? Status() : failure_;
  }

  /// Waits until nobody uses the buffers any more, also in a group that was stopped meanwhile.
  void leave() {
    std::unique_lock lock(mutex_);
    const uint64_t round = round_;
    arrive();
    changed_.wait(lock, [&] { return round_ != round; });
  }

  void stop() {
    std::lock_guard lock(mutex_);
    if (failure_.ok()) failure_ = error(Code::cancelled, "the group of ranks was stopped");
    changed_.notify_all();
  }

 private:
  void arrive() {
    if (++n_waiting_ < n_ranks()) return;
    n_waiting_ = 0;
    ++round_;
    changed_.notify_all();
  }

  Status compare() const {
    const Offer& first = offer(0);
    for (int32_t rank = 0; rank < n_ranks(); ++rank) {
      const Offer& other = offer(rank);
      if (first.call != other.call || first.count != other.count) {
        return error(Code::invalid_argument, "ranks disagree: rank 0 called ", name_of(first.call),
                     " with ", first.count, " elements, rank ", rank, " called ",
                     name_of(other.call), " with ", other.count);
      }
      const auto wanted = checked_mul(other.count, offers_.size());
      if (other.call == Call::gather && wanted != other.room) {
        return error(Code::invalid_argument, "all_gather on rank ", rank, ": room for ", other.room,
                     " bytes, wanted ", other.count, " times ", n_ranks(), " ranks");
      }
    }
    return {};
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Offer> offers_;  // [n_ranks]
  int32_t n_waiting_ = 0;
  uint64_t round_ = 0;
  Status failure_;
};

class InProcessRank final : public Collectives {
 public:
  InProcessRank(std::shared_ptr<Group> group, int32_t rank)
      : group_(std::move(group)), rank_(rank) {}

  int32_t rank() const override { return rank_; }
  int32_t n_ranks() const override { return group_->n_ranks(); }
  Status all_reduce_sum(std::span<float> values) override { return sum(Call::sum_float, values); }
  Status all_reduce_sum(std::span<double> values) override { return sum(Call::sum_double, values); }

  Status all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    const Offer offer{Call::gather, const_cast<std::byte*>(mine.data()), mine.size(), all.size()};
    MM2_RETURN_IF_ERROR(group_->enter(rank_, offer));
    for (int32_t rank = 0; rank < n_ranks(); ++rank) {
      const void* from = group_->offer(rank).data;
      std::byte* to = all.data() + static_cast<size_t>(rank) * mine.size();
      if (!mine.empty() && from != to) std::memcpy(to, from, mine.size());
    }
    group_->leave();
    return {};
  }

  Status barrier() override { return group_->enter(rank_, {}); }
  void stop() override { group_->stop(); }

 private:
  /// Each rank adds up one slice of everybody's values and writes it to everybody: the order of
  /// the sum is that of the ranks wherever the slices lie, and no memory is needed.
  template <typename T>
  Status sum(Call call, std::span<T> values) {
    MM2_RETURN_IF_ERROR(group_->enter(rank_, {call, values.data(), values.size(), 0}));
    const size_t slice = values.size() / static_cast<size_t>(n_ranks()) + 1;
    const size_t begin = std::min(values.size(), slice * static_cast<size_t>(rank_));
    const size_t end = std::min(values.size(), begin + slice);
    const auto of = [&](int32_t rank) { return static_cast<T*>(group_->offer(rank).data); };
    for (size_t i = begin; i < end; ++i) {
      T total = of(0)[i];
      for (int32_t rank = 1; rank < n_ranks(); ++rank) total += of(rank)[i];
      for (int32_t rank = 0; rank < n_ranks(); ++rank) of(rank)[i] = total;
    }
    group_->leave();
    return {};
  }

  std::shared_ptr<Group> group_;
  int32_t rank_;
};

}  // namespace

Result<std::vector<std::unique_ptr<Collectives>>> in_process_ranks(int32_t n_ranks) {
  if (n_ranks < 1 || n_ranks > kMaxRanks) {
    return error(Code::invalid_argument, "in-process ranks: ", n_ranks, " asked for, wanted 1 to ",
                 kMaxRanks);
  }
  auto group = std::make_shared<Group>(n_ranks);
  std::vector<std::unique_ptr<Collectives>> ends;
  for (int32_t rank = 0; rank < n_ranks; ++rank) {
    ends.push_back(std::make_unique<InProcessRank>(group, rank));
  }
  return ends;
}

}  // namespace mm2
