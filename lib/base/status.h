// The result of everything that can fail inside mm2.
//
//   Status load(const std::string& path) {
//     MM2_RETURN_IF_ERROR(check(path));
//     ...
//     return error(Code::format, "loading ", path, ": header claims ", n, " bytes, the file has ",
//                  size);
//   }
//
// Codes are those of the C ABI (include/mm2/status.h), value for value, so that nothing is lost at
// the border. docs/decisions/0002-own-status.md says why this is not absl::Status.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/join.h"

namespace mm2 {

enum class Code : int32_t {
  ok = 0,
  kv_exhausted = 1,
  cancelled = 2,
  no_more = 3,
  invalid_argument = -1,
  out_of_memory = -2,
  io = -3,
  format = -4,
  unsupported = -5,
  not_found = -6,
  budget = -7,
  numeric = -8,
  busy = -9,
  check_failed = -10,
  device = -20,
  device_lost = -21,
  forked = -22,
  internal = -99,
};

/// Whose error number `native` is.
enum class Domain : uint32_t {
  none = 0,
  system_errno = 1,
  cuda = 2,
  cublas = 3,
  nccl = 4,
  mpi = 5
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::ok; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  Domain domain() const { return domain_; }
  int32_t native_code() const { return native_code_; }
  Status&& with_native(Domain domain, int32_t native_code) && {
    domain_ = domain;
    native_code_ = native_code;
    return std::move(*this);
  }
  /// The same error with what was being done in front: "loading x: <message>".
  Status&& in(const std::string& doing) && {
    if (!ok()) message_ = doing + ": " + message_;
    return std::move(*this);
  }

 private:
  Code code_ = Code::ok;
  Domain domain_ = Domain::none;
  int32_t native_code_ = 0;
  std::string message_;
};

/// A failure whose message is the pieces joined: error(Code::format, "tensor ", name, ": ...").
template <typename... Pieces>
Status error(Code code, const Pieces&... pieces) {
  return Status(code, join(pieces...));
}

/// An I/O failure with errno's words: "opening /a/b: No such file or directory". ENOENT becomes
/// not_found, ENOMEM out_of_memory.
Status errno_error(const std::string& doing, int error_number);

/// A value or the reason why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  // Both are implicit on purpose; the first is never called with an ok status.
  Result(Status status) : status_(std::move(status)) {}  // NOLINT
  Result(T value) : value_(std::move(value)) {}          // NOLINT

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace mm2

#define MM2_CONCAT_INNER(a, b) a##b
#define MM2_CONCAT(a, b) MM2_CONCAT_INNER(a, b)

/// Leaves the function with the status if it is a failure.
#define MM2_RETURN_IF_ERROR(expression)                                                  \
  do {                                                                                   \
    if (::mm2::Status mm2_status_ = (expression); !mm2_status_.ok()) return mm2_status_; \
  } while (false)

/// MM2_ASSIGN_OR_RETURN(auto file, open(path)): the value, or leaves the function with the reason.
#define MM2_ASSIGN_OR_RETURN(target, expression) \
  MM2_ASSIGN_OR_RETURN_INNER(MM2_CONCAT(mm2_result_, __LINE__), target, expression)
#define MM2_ASSIGN_OR_RETURN_INNER(result, target, expression) \
  auto result = (expression);                                  \
  if (!result.ok()) return result.status();                    \
  target = *std::move(result)
