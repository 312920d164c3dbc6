// What the opaque handles of the C ABI are.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "mm2/status.h"

/// std::string, because its data is never null, NUL-terminated, and reused.
struct mm2_buffer {
  std::string bytes;
};

namespace mm2::capi {

/// Token ids as the bytes of a buffer.
inline std::string bytes_of(const std::vector<int32_t>& ids) {
  return {reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t)};
}

/// A handle with one member, set by `value`, given to *out. Only ever the last thing a call does.
template <typename Handle, typename Value>
void give(Handle** out, Value&& value) {
  *out = new Handle{std::forward<Value>(value)};
}

}  // namespace mm2::capi
