// One call on an engine at a time.
#pragma once

#include <atomic>

#include "base/status.h"

namespace mm2 {

/// Holds the engine for one call; the second caller is told instead of made to wait.
class InUse {
 public:
  explicit InUse(std::atomic<bool>& busy) : busy_(busy), taken_(!busy.exchange(true)) {}
  ~InUse() {
    if (taken_) busy_.store(false);
  }
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;
  Status status() const {
    if (taken_) return {};
    return error(Code::busy, "another thread is inside a call on this engine");
  }

 private:
  std::atomic<bool>& busy_;
  bool taken_;
};

}  // namespace mm2
