// The same from C++, with the header-only wrappers.
#include <cstdio>
#include <mm2/mm2.hpp>
#include <string>

int main() {
  if (mm2_abi_version() != MM2_ABI_VERSION) return 1;
  std::printf("mm2 %s works\n", std::string(mm2_version_string()).c_str());
  return 0;
}
