// The library's parser of model output, with its events as a C++ callback.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "handles.h"

namespace cli {

struct ToolCall {
  std::string name, arguments;  // arguments: a JSON object as text
};

/// Events joined to the whole.
struct ParsedOutput {
  std::string reasoning, content;
  std::vector<ToolCall> calls;
  bool incomplete = false;  // it broke off inside a tool block; an unfinished call is dropped
  int64_t n_deltas = 0;     // pieces that a client would have seen arrive

  void add(const mm2_event& event, std::string_view data);

 private:
  size_t n_ended_ = 0;  // calls that are complete
};

class OutputParser {
 public:
  using OnEvent = std::function<void(const mm2_event& event, std::string_view data)>;

  OutputParser(int32_t mode, bool starts_in_think, const std::string& tools_json, OnEvent on_event);
  void push(std::string_view bytes);
  void finish();

 private:
  void drain();

  Parser parser_;
  OnEvent on_event_;
};

}  // namespace cli
