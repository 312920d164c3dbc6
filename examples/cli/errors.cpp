#include "errors.h"

namespace cli {
namespace {

/// The contract is one line, whatever a file name or a message contains.
std::string one_line(const std::string& text) {
  std::string line;
  for (const char c : text) {
    if (c == '\n' || c == '\r') {
      if (!line.empty() && line.back() != ' ') line += ' ';
    } else {
      line += c;
    }
  }
  return line;
}

/// The library may begin with what it was doing, in the same words.
std::string wording(mm2_status status, const std::string& doing, const mm2_error& error) {
  const std::string message = error.message;
  if (message.compare(0, doing.size() + 2, doing + ": ") == 0) {
    return message.substr(doing.size() + 2);
  }
  if (!message.empty()) return message;
  return std::string("the library said ") + mm2_status_name(status);
}

}  // namespace

Failure::Failure(ExitCode exit_code, const std::string& doing, const std::string& wrong)
    : std::runtime_error(one_line(doing + ": " + wrong)),
      exit_code_(exit_code),
      wrong_(wrong),
      code_("MM2_E_FORMAT") {}

Failure::Failure(mm2_status status, const std::string& doing, const mm2_error& error)
    : Failure(exit_code_of(status), doing, wording(status, doing, error)) {
  status_ = status;
  code_ = mm2_status_name(status);
}

Failure&& Failure::with_answer(const std::string& code, const std::string& message) && {
  code_ = code;
  wrong_ = message;
  return std::move(*this);
}

ExitCode exit_code_of(mm2_status status) {
  switch (status) {
    case MM2_OK:
    case MM2_NO_MORE:
      return kOk;
    case MM2_CANCELLED:
      return kInterrupted;
    case MM2_E_CHECK_FAILED:
      return kCheckFailed;
    case MM2_KV_EXHAUSTED:
    case MM2_E_OUT_OF_MEMORY:
    case MM2_E_IO:
    case MM2_E_BUSY:
    case MM2_E_DEVICE:
    case MM2_E_DEVICE_LOST:
    case MM2_E_FORKED:
    case MM2_E_INTERNAL:
      return kResources;
    default:
      return kInvalidInput;
  }
}

mm2_error new_error() {
  mm2_error error;
  mm2_error_init(&error, sizeof error);
  return error;
}

}  // namespace cli
