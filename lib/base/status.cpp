#include "base/status.h"

#include <cerrno>
#include <cstring>

namespace mm2 {

Status errno_error(const std::string& doing, int error_number) {
  Code code = Code::io;
  if (error_number == ENOENT) code = Code::not_found;
  if (error_number == ENOMEM) code = Code::out_of_memory;
  char text[128];
  // GNU strerror_r: unlike strerror it may be called from many threads.
  return error(code, doing, ": ",
               static_cast<const char*>(strerror_r(error_number, text, sizeof text)))
      .with_native(Domain::system_errno, error_number);
}

}  // namespace mm2
