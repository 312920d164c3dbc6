#include "tensor/dtype.h"

namespace mm2 {
namespace {

struct Row {
  std::string_view name;
  int bits;
};

// In the order of the enumeration.
constexpr Row kRows[] = {
    {"F64", 64},    {"F32", 32},    {"F16", 16},        {"BF16", 16},       {"F8_E4M3", 8},
    {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6},
    {"F6_E3M2", 6}, {"F4", 4},      {"C64", 64},        {"I64", 64},        {"I32", 32},
    {"I16", 16},    {"I8", 8},      {"U64", 64},        {"U32", 32},        {"U16", 16},
    {"U8", 8},      {"BOOL", 8},
};
static_assert(sizeof(kRows) / sizeof(kRows[0]) == kDtypes);

}  // namespace

std::string_view dtype_name(Dtype dtype) {
  return kRows[static_cast<int>(dtype)].name;
}

int dtype_bits(Dtype dtype) {
  return kRows[static_cast<int>(dtype)].bits;
}

std::optional<Dtype> dtype_from_name(std::string_view name) {
  for (int i = 0; i < kDtypes; ++i) {
    if (kRows[i].name == name) return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

}  // namespace mm2
