// How the program fails: one exception type that carries an exit code and one line of text.
#pragma once

#include <mm2/status.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace cli {

/// Exit codes; scripts rely on them.
enum ExitCode : int {
  kOk = 0,
  kUsage = 1,         // the command line is wrong
  kInvalidInput = 2,  // a file, checkpoint or JSON text is wrong
  kCheckFailed = 3,   // a check that was asked for did not pass
  kResources = 4,     // input and output, space, memory
  kInterrupted = 5,
};

/// Ends the program with `mm2: <doing>: <wrong>` on standard error.
class Failure : public std::runtime_error {
 public:
  Failure(ExitCode exit_code, const std::string& doing, const std::string& wrong);
  /// From a call of the library.
  Failure(mm2_status status, const std::string& doing, const mm2_error& error);
  /// What a JSON line answers, where that is another code than a status, and other words.
  Failure&& with_answer(const std::string& code, const std::string& message) &&;

  ExitCode exit_code() const { return exit_code_; }
  mm2_status status() const { return status_; }
  const std::string& wrong() const { return wrong_; }
  const std::string& code() const { return code_; }

 private:
  ExitCode exit_code_;
  mm2_status status_ = MM2_OK;
  std::string wrong_;
  std::string code_;  // of a JSON line
};

/// The exit code that belongs to a status of the library.
ExitCode exit_code_of(mm2_status status);

/// An mm2_error that is ready to be filled.
mm2_error new_error();

/// Calls function(arguments..., &error) of the C ABI and throws Failure unless it returns MM2_OK.
template <typename Function, typename... Arguments>
void call(const std::string& doing, Function function, Arguments... arguments) {
  mm2_error error = new_error();
  const mm2_status status = function(arguments..., &error);
  if (status != MM2_OK) throw Failure(status, doing, error);
}

}  // namespace cli
