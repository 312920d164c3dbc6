#include "base/host.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace mm2 {
namespace {

// Large blocks lie on huge pages where the system has some: reading weights is up to a fifth faster
// (docs/benchmarks/cpu-generic.md).
class NewAllocator final : public Allocator {
 public:
  void* allocate(size_t size, size_t alignment) noexcept override {
    alignment = page_aligned(size, alignment);
    void* pointer = ::operator new(size, std::align_val_t(alignment), std::nothrow);
    // Advice: without huge pages nothing changes, so a refusal is no failure.
    if (pointer != nullptr && size >= kHugePage) {
      (void)madvise(pointer, size / kHugePage * kHugePage, MADV_HUGEPAGE);
    }
    return pointer;
  }
  void release(void* pointer, size_t size, size_t alignment) noexcept override {
    ::operator delete(pointer, std::align_val_t(page_aligned(size, alignment)), std::nothrow);
  }

 private:
  static constexpr size_t kHugePage = size_t{2} << 20;

  static size_t page_aligned(size_t size, size_t alignment) {
    return size >= kHugePage ? std::max(alignment, kHugePage) : alignment;
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
