// struct_size: reading structs from older and newer headers than this library's, and writing them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/status.h"
#include "mm2/status.h"

namespace mm2::capi {

/// Larger ones are taken for garbage before anything is read.
inline constexpr uint32_t kMaxStructSize = 4096;

/// Checks the size that a struct states of itself.
Status check_struct_size(uint32_t struct_size, const char* name);

/// unsupported when bytes [known, struct_size) of a struct are not all zero.
Status check_tail(const void* from, size_t known, uint32_t struct_size, const char* name);

/// A struct of the caller as this library knows it: what an older header lacks is zero. Null counts
/// as all zeros; so the result always has struct_size = sizeof(T).
template <typename T>
Result<T> read_struct(const T* from, const char* name) {
  T to{};
  if (from != nullptr) {
    MM2_RETURN_IF_ERROR(check_struct_size(from->struct_size, name));
    MM2_RETURN_IF_ERROR(check_tail(from, sizeof(T), from->struct_size, name));
    std::memcpy(&to, from, std::min<size_t>(from->struct_size, sizeof(T)));
  }
  to.struct_size = sizeof(T);
  return to;
}

/// Checks that a struct can be written later on, so that nothing can fail after the work is done.
template <typename T>
Status check_output(const T* to, const char* name) {
  if (to == nullptr) return error(Code::invalid_argument, name, " is NULL");
  return check_struct_size(to->struct_size, name);
}

/// Fills a struct that check_output has seen: as much as it has room for, zeros beyond.
template <typename T>
void write_struct(T* to, const T& from) {
  const uint32_t struct_size = to->struct_size;
  const size_t known = std::min<size_t>(struct_size, sizeof(T));
  std::memcpy(static_cast<void*>(to), &from, known);
  std::memset(reinterpret_cast<char*>(to) + known, 0, struct_size - known);
  to->struct_size = struct_size;
}

/// The body of every mm2_<x>_init.
mm2_status init_struct(void* to, size_t size) noexcept;

}  // namespace mm2::capi
