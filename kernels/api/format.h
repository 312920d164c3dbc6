// What follows from a Format: which ones exist, how many patches, over how many columns a sum runs
// before its scale is applied. Internal linkage: each instruction set gets its own copy.
#pragma once

#include "kernels/api/numbers.h"
#include "kernels/api/types.h"

namespace mm2::kernels {

/// Columns whose products are summed before a scale is applied, at most.
constexpr int64_t kSumGroup = 128;

/// Activations of kI8 whose greatest magnitude is below this are 0: 127 / size stays finite.
constexpr float kLeastInt8 = 0x1p-100f;

MM2_HD static inline bool is_plain(const Format& f) {
  return f.scheme == kPlain;
}

/// kFp4 with E4M3 scales: code times scale has six significant bits, so it is exact in BF16 and is
/// one number as far as sums are concerned.
MM2_HD static inline bool scale_in_code(const Format& f) {
  return f.scheme == kFp4 && f.number == kE4M3;
}

MM2_HD static inline int64_t n_patches(const Format& f, int64_t n_in) {
  return is_plain(f) ? 0 : (n_in + f.patch_cols - 1) / f.patch_cols;
}

/// Columns of one sum: 0 = the whole row in one chain. Patches wider than kSumGroup are cut; the
/// scale is the same then.
MM2_HD static inline int64_t sum_group(const Format& f) {
  if (is_plain(f) || scale_in_code(f)) return 0;
  return f.patch_cols == 32 || f.patch_cols == 64 ? f.patch_cols : kSumGroup;
}

/// How activations enter products with such weights: kI8 only where codes are integers.
MM2_HD static inline int32_t entering(const Format& f, int32_t activations) {
  return activations == kI8 && f.scheme != kInteger ? int32_t{kBF16} : activations;
}

/// Whether kernels know the format for rows of n_in: patches of 16 (kFp4, E4M3), else of 32, 64 or a
/// multiple of 128 columns, or of all of them.
MM2_HD static inline bool is_format(const Format& f, int64_t n_in) {
  const bool float_scale = f.number == kF32 || f.number == kBF16 || f.number == kF16;
  if (is_plain(f)) return float_scale && f.ordered == 0;
  if (f.patch_rows < 1 || f.patch_cols < 1) return false;
  if (f.scheme == kFp4 && f.number == kE4M3) return f.patch_rows == 1 && f.patch_cols == 16;
  const int64_t cols = f.patch_cols;
  if (cols != 32 && cols != 64 && cols % kSumGroup != 0 && cols < n_in) return false;
  if (f.scheme == kInteger) return float_scale && (f.bits == 4 || f.bits == 8);
  if (f.scheme == kFp8) return float_scale || f.number == kE8M0;
  return f.scheme == kFp4 && f.number == kE8M0;
}

}  // namespace mm2::kernels
