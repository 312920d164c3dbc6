// Counts every byte that operator new hands out. Defines it for the whole program: include it in one
// file only.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

namespace counted_memory {

inline std::atomic<size_t> held{0}, most{0};

constexpr size_t kHeader = 16;  // the size stands in front of what is handed out

inline void* take(size_t n) {
  auto* const p = static_cast<char*>(std::malloc(n + kHeader));
  if (p == nullptr) throw std::bad_alloc();
  std::memcpy(p, &n, sizeof n);
  const size_t now = held += n;
  if (now > most) most = now;
  return p + kHeader;
}

inline void give_back(void* p) {
  if (p == nullptr) return;
  char* const begin = static_cast<char*>(p) - kHeader;
  size_t n;
  std::memcpy(&n, begin, sizeof n);
  held -= n;
  std::free(begin);
}

}  // namespace counted_memory

void* operator new(size_t n) {
  return counted_memory::take(n);
}
void* operator new[](size_t n) {
  return counted_memory::take(n);
}
void operator delete(void* p) noexcept {
  counted_memory::give_back(p);
}
void operator delete[](void* p) noexcept {
  counted_memory::give_back(p);
}
void operator delete(void* p, size_t) noexcept {
  counted_memory::give_back(p);
}
void operator delete[](void* p, size_t) noexcept {
  counted_memory::give_back(p);
}
