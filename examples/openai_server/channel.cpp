#include "channel.h"

namespace server {

void Channel::push(TokenEvent&& event) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    size_.store(events_.size(), std::memory_order_relaxed);
  }
  ready_.notify_one();
}

bool Channel::take(std::vector<TokenEvent>& events, std::chrono::milliseconds patience) {
  events.clear();
  bool was_full = false;
  {
    std::unique_lock lock(mutex_);
    ready_.wait_for(lock, patience, [this] { return !events_.empty() || cancelled(); });
    if (cancelled() || events_.empty()) return false;
    was_full = full();
    events_.swap(events);
    size_.store(0, std::memory_order_relaxed);
  }
  if (was_full) wake_engine_();
  return true;
}

void Channel::cancel() {
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_.exchange(true)) return;
  }
  ready_.notify_all();
  wake_engine_();
}

void Channel::end_choice(int32_t choice) {
  unwanted_[static_cast<size_t>(choice)] = true;
  wake_engine_();
}

}  // namespace server
