#include "capi/guard.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>

#include "capi/structs.h"

namespace mm2::capi {
namespace {

/// Length of the longest beginning of text that has at most n bytes and ends with a whole
/// character.
size_t cut_at_character(std::string_view text, size_t n) {
  if (text.size() <= n) return text.size();
  while (n > 0 && (static_cast<unsigned char>(text[n]) & 0xC0) == 0x80) --n;
  return n;
}

}  // namespace

mm2_status fill_error(mm2_error* err, mm2_status code, uint32_t domain, int32_t native_code,
                      std::string_view message) noexcept {
  if (err == nullptr || err->struct_size > kMaxStructSize) return code;
  mm2_error filled{};
  filled.struct_size = err->struct_size;
  filled.code = code;
  filled.domain = domain;
  filled.native_code = native_code;
  const size_t known = std::min<size_t>(err->struct_size, sizeof filled);
  if (known > offsetof(mm2_error, message)) {
    const size_t room = known - offsetof(mm2_error, message) - 1;
    std::memcpy(filled.message, message.data(), cut_at_character(message, room));
  }
  std::memcpy(err, &filled, known);
  std::memset(reinterpret_cast<char*>(err) + known, 0, filled.struct_size - known);
  return code;
}

mm2_status report(mm2_error* err, const Status& status) noexcept {
  return fill_error(err, static_cast<mm2_status>(status.code()),
                    static_cast<uint32_t>(status.domain()), status.native_code(), status.message());
}

mm2_status report_exception(mm2_error* err) noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return fill_error(err, MM2_E_OUT_OF_MEMORY, MM2_DOMAIN_NONE, 0, "out of memory");
  } catch (const std::length_error&) {
    return fill_error(err, MM2_E_OUT_OF_MEMORY, MM2_DOMAIN_NONE, 0,
                      "out of memory: a container would be larger than its type allows");
  } catch (const std::exception& unexpected) {
    return fill_error(err, MM2_E_INTERNAL, MM2_DOMAIN_NONE, 0, unexpected.what());
  } catch (...) {
    return fill_error(err, MM2_E_INTERNAL, MM2_DOMAIN_NONE, 0, "an unknown exception");
  }
}

Status need(const void* pointer, const char* name) {
  if (pointer != nullptr) return {};
  return error(Code::invalid_argument, name, " is NULL");
}

Result<std::string_view> need_text(const char* text, size_t length, const char* name) {
  if (length > static_cast<size_t>(PTRDIFF_MAX))
    return error(Code::invalid_argument, name, ": length ", length,
                 " is more than memory can hold");
  if (length > 0) MM2_RETURN_IF_ERROR(need(text, name));
  return length == 0 ? std::string_view() : std::string_view(text, length);
}

Result<std::span<const int32_t>> need_array(const int32_t* ids, size_t n, const char* name) {
  if (n > static_cast<size_t>(PTRDIFF_MAX) / sizeof(int32_t))
    return error(Code::invalid_argument, name, ": ", n, " ids are more than memory can hold");
  if (n > 0) MM2_RETURN_IF_ERROR(need(ids, name));
  return std::span<const int32_t>(ids, n);
}

Status need_range(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return error(Code::invalid_argument, name, " is ", value, ", allowed are ", low, " to ", high);
}

}  // namespace mm2::capi
