// The library's parser of model output, with its events as a C++ callback.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "handles.h"

namespace cli {

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
