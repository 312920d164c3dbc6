// Matrices of codes as the reference keeps them: codes, one byte each, row by row; the F32 scale of
// each row and patch of columns; their zeros; the order of the columns.
#pragma once

#include "kernels/api/format.h"

namespace mm2::kernels::ref {

struct CodeMatrix {
  const uint8_t* codes;  // [n_out, n_in]
  const float* scales;   // [n_out, n_patches]
  const uint8_t* zeros;  // [n_out, n_patches]
  const int32_t* order;  // [n_in], or null
  int64_t patches;
  int64_t bytes;  // of all of it
};

/// Its parts in `data`.
inline CodeMatrix code_matrix(const Format& f, int64_t n_out, int64_t n_in, const void* data) {
  const char* at = static_cast<const char*>(data);
  const int64_t patches = n_patches(f, n_in);
  const int64_t scales = (n_out * n_in + 63) / 64 * 64;
  const int64_t zeros = scales + n_out * patches * 4;
  const int64_t order = (zeros + (f.zeros != 0 ? n_out * patches : 0) + 63) / 64 * 64;
  CodeMatrix m{reinterpret_cast<const uint8_t*>(at),
               reinterpret_cast<const float*>(at + scales),
               reinterpret_cast<const uint8_t*>(at + zeros),
               nullptr,
               patches,
               order};
  if (f.ordered != 0) {
    m.order = reinterpret_cast<const int32_t*>(at + order);
    m.bytes += n_in * 4;
  }
  return m;
}

/// What a code stands for before its scale; kInteger with zeros counts from 0.
inline float code_value(const Format& f, uint8_t code) {
  if (f.scheme == kFp8) return e4m3_to_f32(code);
  if (f.scheme == kFp4) return e2m1_to_f32(code);
  return static_cast<float>(code) - (f.zeros != 0 ? 0.0f : static_cast<float>(1 << (f.bits - 1)));
}

}  // namespace mm2::kernels::ref
