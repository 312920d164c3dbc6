#include "sampler/history.h"

namespace mm2 {

void History::add(int32_t token, bool from_prompt) {
  // Whatever can throw comes first: an entry with zero counts means nothing.
  Counts& counts = counts_.try_emplace(token).first->second;
  if (window_ > 0) recent_.push_back({token, from_prompt});
  counts.all += 1;
  counts.output += from_prompt ? 0 : 1;
  if (recent_.size() > window_) forget_oldest();
}

void History::forget_oldest() {
  const Entry oldest = recent_.front();
  recent_.pop_front();
  const auto found = counts_.find(oldest.token);
  found->second.all -= 1;
  found->second.output -= oldest.from_prompt ? 0 : 1;
  if (found->second.all == 0) counts_.erase(found);
}

void History::clear() {
  recent_.clear();
  counts_.clear();
}

void History::penalize(const Penalties& penalties, std::span<float> logits) const {
  for (const auto& [token, counts] : counts_) {
    if (counts.all == 0) continue;
    float& x = logits[static_cast<size_t>(token)];
    if (penalties.repetition != 1) x = x > 0 ? x / penalties.repetition : x * penalties.repetition;
    if (counts.output == 0) continue;
    x -= penalties.frequency * static_cast<float>(counts.output);
    x -= penalties.presence;
  }
}

}  // namespace mm2
