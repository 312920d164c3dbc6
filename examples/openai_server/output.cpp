#include "output.h"

namespace server {

// ---- StopFilter

std::string StopFilter::push(std::string_view text) {
  if (hit_ != nullptr) return {};
  if (stops_.empty()) return std::string(text);
  held_ += text;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at < first) {
      first = at;
      hit_ = &stop;
    }
  }
  if (hit_ != nullptr) return held_.substr(0, first);
  // The longest end of the text that a stop string begins with may still become one.
  size_t n_held = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > n_held; --n) {
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) n_held = n;
    }
  }
  std::string shown = held_.substr(0, held_.size() - n_held);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopFilter::flush() {
  if (hit_ != nullptr) return {};
  return std::move(held_);
}

// ---- ChoiceOutput

ChoiceOutput::ChoiceOutput(const Service& service, const OutputOptions& options)
    : service_(service),
      options_(options),
      detokenizer_(service.tokenizer().stream(options.raw ? MM2_SKIP_SPECIAL : 0)),
      stops_(options.stops),
      reasoning_(options.starts_in_think && !options.raw) {
  if (options.raw) return;
  auto parser = mm2::make<mm2_parser_options>();
  parser.mode = options.parser_mode;
  parser.starts_in_think = options.starts_in_think ? 1 : 0;
  if (!options.tools_json.empty()) {
    parser.tools_json = options.tools_json.data();
    parser.tools_json_length = options.tools_json.size();
  }
  parser_.emplace(parser);
}

bool ChoiceOutput::push(const TokenEvent& event) {
  if (over_) return false;
  n_cached_ = event.n_cached;
  if (event.finish == Finish::failed) {
    failure_ = event.message;
    over_ = true;
  } else if (event.finish != Finish::none) {
    end(event.finish == Finish::length ? "length" : "stop");
  } else {
    ++n_tokens_;
    n_reasoning_tokens_ += reasoning_ ? 1 : 0;
    const std::string piece = detokenizer_.push(event.token);
    if (!event.top.empty()) {
      tokens_.push_back({service_.tokenizer().decode({event.token}), event.top, n_bytes_});
    }
    n_bytes_ += piece.size();
    push_text(piece);
    if (ended_by_stop_) end("stop");
  }
  return over_;
}

void ChoiceOutput::push_text(std::string_view piece) {
  if (piece.empty()) return;
  if (!parser_) return add_text(std::string(piece));
  parser_->push(piece);
  drain();
}

void ChoiceOutput::end(const std::string& reason) {
  over_ = true;
  finish_reason_ = reason;
  if (!ended_by_stop_) {
    push_text(detokenizer_.flush());
    if (parser_) {
      parser_->finish();
      drain();
    }
    if (std::string rest = stops_.flush(); !rest.empty()) {
      events_.push_back({MM2_EVENT_TEXT, -1, std::move(rest)});
    }
  }
  if (stops_.hit() != nullptr) finish_reason_ = "stop";
  if (n_calls_ > 0 && finish_reason_ == "stop") finish_reason_ = "tool_calls";
}

void ChoiceOutput::drain() {
  while (const auto event = parser_->next()) {
    if (ended_by_stop_) continue;
    const std::string_view data(event->data, event->length);
    switch (event->kind) {
      case MM2_EVENT_TEXT:
        reasoning_ = false;
        add_text(std::string(data));
        break;
      case MM2_EVENT_CALL_END:
        ++n_calls_;
        [[fallthrough]];
      case MM2_EVENT_REASONING:
      case MM2_EVENT_CALL_BEGIN:
      case MM2_EVENT_CALL_ARGUMENTS:
        reasoning_ = event->kind == MM2_EVENT_REASONING;
        events_.push_back({event->kind, event->call_index, std::string(data)});
        if (event->kind == MM2_EVENT_CALL_END && options_.one_call) ended_by_stop_ = true;
        break;
      default:
        break;
    }
  }
}

void ChoiceOutput::add_text(std::string text) {
  text = stops_.push(text);
  if (!text.empty()) events_.push_back({MM2_EVENT_TEXT, -1, std::move(text)});
  if (stops_.hit() != nullptr) ended_by_stop_ = true;
}

std::vector<OutputEvent> ChoiceOutput::take_events() {
  return std::exchange(events_, {});
}

std::vector<ChoiceOutput::TokenInfo> ChoiceOutput::take_tokens() {
  return std::exchange(tokens_, {});
}

}  // namespace server
