// The border: every exported body runs inside guarded(), which turns a Status or an exception into
// a code and the caller's mm2_error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/status.h"
#include "mm2/status.h"

namespace mm2::capi {

/// Fills what err has room for; null and struct_size 0 mean "not wanted". Returns `code`.
mm2_status fill_error(mm2_error* err, mm2_status code, uint32_t domain, int32_t native_code,
                      std::string_view message) noexcept;

/// The same from a failure.
mm2_status report(mm2_error* err, const Status& status) noexcept;

/// The same from the exception being handled: only inside a catch block.
mm2_status report_exception(mm2_error* err) noexcept;

/// Runs body() -> Status.
template <typename Body>
mm2_status guarded(mm2_error* err, Body&& body) noexcept {
  try {
    const Status status = body();
    return status.ok() ? MM2_OK : report(err, status);
  } catch (...) {
    return report_exception(err);
  }
}

/// invalid_argument when a pointer that is needed is null.
Status need(const void* pointer, const char* name);

/// Bytes that a caller hands over; null only when there are none.
Result<std::string_view> need_text(const char* text, size_t length, const char* name);

/// The same for token ids.
Result<std::span<const int32_t>> need_array(const int32_t* ids, size_t n, const char* name);

/// invalid_argument when a flag or a choice lies outside [low, high].
Status need_range(const char* name, int64_t value, int64_t low, int64_t high);

}  // namespace mm2::capi
