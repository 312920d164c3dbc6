#include "capi/structs.h"

namespace mm2::capi {

Status check_struct_size(uint32_t struct_size, const char* name) {
  if (struct_size >= sizeof(uint32_t) && struct_size <= kMaxStructSize) return {};
  return error(Code::invalid_argument, name, ".struct_size is ", struct_size,
               ": set it to the size of the struct, 4 to ", kMaxStructSize);
}

Status check_tail(const void* from, size_t known, uint32_t struct_size, const char* name) {
  const auto* bytes = static_cast<const unsigned char*>(from);
  for (size_t i = known; i < struct_size; ++i) {
    if (bytes[i] != 0)
      return error(Code::unsupported, name, ": the field at byte ", i,
                   " is not zero, but this library knows ", known, " bytes of the struct only");
  }
  return {};
}

mm2_status init_struct(void* to, size_t size) noexcept {
  if (to == nullptr || size < sizeof(uint32_t) || size > kMaxStructSize)
    return MM2_E_INVALID_ARGUMENT;
  const auto struct_size = static_cast<uint32_t>(size);
  std::memset(to, 0, size);
  std::memcpy(to, &struct_size, sizeof struct_size);
  return MM2_OK;
}

}  // namespace mm2::capi
