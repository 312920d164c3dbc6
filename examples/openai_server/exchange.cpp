#include "exchange.h"

namespace server {
namespace {

// Tokens that wait for a slow client before its sequences leave the engine's steps.
constexpr size_t kChannelTokens = 1024;
// Proxies cut connections on which nothing moves.
constexpr std::chrono::seconds kKeepAlive{15};
// Log probabilities in an answer that is sent at once: as JSON they take some hundred bytes each.
constexpr size_t kMostLogprobs = 1 << 18;
// All connections together look for tokens 4,000 times a second, and each at most every 4 ms:
// waking 64 threads after every step would take more from a small model than its answers gain, and
// nobody sees the difference.
void pause(const Scheduler& scheduler) {
  const int32_t n = std::max(16, scheduler.totals().running);
  std::this_thread::sleep_for(std::chrono::microseconds(250) * n);
}

}  // namespace

Exchange::Exchange(Service& service, PeerWatcher& watcher, int descriptor, Generation generation,
                   std::unique_ptr<Answer> answer)
    : service_(service),
      watcher_(watcher),
      descriptor_(descriptor),
      generation_(std::move(generation)),
      n_choices_(generation_.n_choices()),
      answer_(std::move(answer)),
      channel_(std::make_shared<Channel>(kChannelTokens, static_cast<size_t>(n_choices_),
                                         [&service] { service.scheduler().wake(); })) {
  for (int32_t i = 0; i < n_choices_; ++i) outputs_.emplace_back(service_, generation_.output);
}

Exchange::~Exchange() {
  watcher_.forget(descriptor_);
  if (!all_over()) channel_->cancel();
}

std::optional<Refusal> Exchange::submit() {
  watcher_.watch(descriptor_, [channel = channel_] { channel->cancel(); });
  for (Job& job : generation_.jobs) job.channel = channel_;
  return service_.scheduler().submit(std::move(generation_.jobs));
}

bool Exchange::all_over() const {
  return std::all_of(outputs_.begin(), outputs_.end(),
                     [](const ChoiceOutput& output) { return output.over(); });
}

std::string Exchange::first_failure() const {
  for (const ChoiceOutput& output : outputs_) {
    if (!output.failure().empty()) return output.failure();
  }
  return {};
}

Usage Exchange::usage() const {
  Usage usage;
  usage.prompt_tokens = generation_.n_prompt_tokens;
  for (const ChoiceOutput& output : outputs_) {
    usage.completion_tokens += output.n_tokens();
    usage.reasoning_tokens += output.n_reasoning_tokens();
  }
  // Further answers to a prompt always find it; what counts is what the first one found.
  usage.cached_tokens = outputs_.front().n_cached();
  return usage;
}

std::string Exchange::echoed(int32_t choice) const {
  if (generation_.echoed.empty()) return {};
  const size_t per_prompt = static_cast<size_t>(n_choices_) / generation_.echoed.size();
  return generation_.echoed[static_cast<size_t>(choice) / per_prompt];
}

// The text of all events that `events_` brings.
std::string Exchange::write_new_events() {
  std::string text;
  for (const TokenEvent& event : events_) {
    ChoiceOutput& output = outputs_[static_cast<size_t>(event.choice)];
    if (output.over()) continue;
    const bool over = output.push(event);
    const auto events = output.take_events();
    const auto tokens = output.take_tokens();
    if (!events.empty() || !tokens.empty())
      text += answer_->on_events(event.choice, events, tokens);
    if (!over) continue;
    if (event.finish == Finish::none) channel_->end_choice(event.choice);  // a stop string
    if (output.failure().empty()) text += answer_->on_end(event.choice, output);
  }
  return text;
}

bool Exchange::pump(httplib::DataSink& sink) {
  std::string text;
  if (!begun_) {
    text = answer_->begin();
    for (int32_t i = 0; i < n_choices_; ++i) {
      if (const std::string prompt = echoed(i); !prompt.empty()) {
        text += answer_->on_events(i, {{MM2_EVENT_TEXT, -1, prompt}}, {});
      }
    }
    begun_ = true;
  } else if (channel_->take(events_, kKeepAlive)) {
    text = write_new_events();
  } else if (channel_->cancelled()) {
    return false;
  } else {
    text = answer_->keep_alive();
  }
  const bool over = all_over();
  if (over) {
    const std::string failure = first_failure();
    text += failure.empty() ? answer_->end(usage()) : answer_->failure(failure);
  }
  if (!text.empty() && !sink.write(text.data(), text.size())) {
    channel_->cancel();
    return false;
  }
  if (over) {
    sink.done();
  } else {
    pause(service_.scheduler());
  }
  return true;
}

Json Exchange::wait() {
  std::vector<WholeChoice> choices(static_cast<size_t>(n_choices_));
  size_t n_logprobs = 0;
  for (int32_t i = 0; i < n_choices_; ++i) choices[static_cast<size_t>(i)].content = echoed(i);
  while (!all_over()) {
    if (!channel_->take(events_)) return nullptr;
    for (const TokenEvent& event : events_) {
      ChoiceOutput& output = outputs_[static_cast<size_t>(event.choice)];
      if (output.over()) continue;
      const bool over = output.push(event);
      WholeChoice& choice = choices[static_cast<size_t>(event.choice)];
      choice.add(output.take_events());
      for (auto& token : output.take_tokens()) {
        n_logprobs += token.top.size();
        choice.tokens.push_back(std::move(token));
      }
      if (n_logprobs > kMostLogprobs) {
        throw BadRequest("the answer has more than " + std::to_string(kMostLogprobs) +
                             " log probabilities; stream it, or ask for fewer",
                         "logprobs");
      }
      if (over && event.finish == Finish::none) channel_->end_choice(event.choice);
    }
    if (!all_over()) pause(service_.scheduler());
  }
  if (const std::string failure = first_failure(); !failure.empty()) {
    throw BadRequest(failure, "", 500);
  }
  std::vector<const ChoiceOutput*> outputs;
  for (const ChoiceOutput& output : outputs_) outputs.push_back(&output);
  return answer_->whole(choices, outputs, usage());
}

}  // namespace server
