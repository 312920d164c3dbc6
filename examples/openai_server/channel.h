// What passes between the engine thread, which must never wait for anybody, and the thread of one
// connection, which may be as slow as its client.
#pragma once

#include <mm2/sampler.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace server {

enum class Finish { none, stop, length, failed };

/// A token that was picked for one choice, or, with token -1, the end of that choice.
struct TokenEvent {
  int32_t choice = 0;
  int32_t token = -1;
  Finish finish = Finish::none;
  int32_t n_cached = 0;                // of the prompt, with the first token: taken from the cache
  std::vector<mm2_token_logprob> top;  // the token, then the most likely ones; where asked for
  std::string message;                 // of Finish::failed
};

/// A bounded queue of tokens. The engine leaves a sequence out of its steps while its channel is
/// full, so a client that does not read costs a fixed amount of memory and nobody's time.
class Channel {
 public:
  /// wake_engine is called when a full channel was emptied and when the reader gives up.
  Channel(size_t capacity, size_t n_choices, std::function<void()> wake_engine)
      : capacity_(capacity), wake_engine_(std::move(wake_engine)), unwanted_(n_choices) {}

  // ---- the engine thread
  bool full() const { return size_.load(std::memory_order_relaxed) >= capacity_; }
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  bool unwanted(int32_t choice) const {
    return cancelled() || unwanted_[static_cast<size_t>(choice)].load(std::memory_order_acquire);
  }
  /// Never waits. The end of a choice always finds room.
  void push(TokenEvent&& event);

  // ---- the reader
  /// Waits until there is something and moves all of it to `events`, which is emptied first. False
  /// once the channel is cancelled, or when nothing came for `patience`.
  bool take(std::vector<TokenEvent>& events,
            std::chrono::milliseconds patience = std::chrono::hours(24));
  /// Any thread: nobody wants the rest. The engine frees the sequences before its next step.
  void cancel();
  /// Enough of this choice; the others go on.
  void end_choice(int32_t choice);

 private:
  const size_t capacity_;
  const std::function<void()> wake_engine_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<TokenEvent> events_;
  std::atomic<size_t> size_{0};
  std::atomic<bool> cancelled_{false};
  std::vector<std::atomic<bool>> unwanted_;  // [n_choices]
};

}  // namespace server
