#include "base/host.h"

#include <new>

namespace mm2 {
namespace {

class NewAllocator final : public Allocator {
 public:
  void* allocate(size_t size, size_t alignment) noexcept override {
    return ::operator new(size, std::align_val_t(alignment), std::nothrow);
  }
  void release(void* pointer, size_t, size_t alignment) noexcept override {
    ::operator delete(pointer, std::align_val_t(alignment), std::nothrow);
  }
};

}  // namespace

std::shared_ptr<Allocator> default_allocator() {
  return std::make_shared<NewAllocator>();
}

Result<std::string> read_all(const Source& source, const std::string& name, uint64_t limit) {
  MM2_ASSIGN_OR_RETURN(std::shared_ptr<SourceFile> file, source.open(name));
  if (file->size() > limit) {
    return error(Code::format, name, ": ", file->size(), " bytes, at most ", limit, " are read");
  }
  std::string text(file->size(), '\0');
  MM2_RETURN_IF_ERROR(file->read_at(0, text.data(), text.size()));
  return text;
}

}  // namespace mm2
