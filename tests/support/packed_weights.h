// Random weights of every format that the fast CUDA kernels multiply, as they lie packed.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/cuda/layout/pack.h"

namespace support {

using namespace mm2::kernels;
using namespace mm2::kernels::cuda;

/// A format and what it is called.
struct WeightCase {
  const char* name;
  Format format;
};

inline const WeightCase kWeightCases[] = {
    {"BF16", plain(kBF16)},
    {"FP8, scales of 128 x 128", {kFp8, kF32, 8, 0, 0, 128, 128}},
    {"FP8, a scale for each row", {kFp8, kBF16, 8, 0, 0, 1, 128}},
    {"INT4, groups of 128", {kInteger, kBF16, 4, 0, 0, 1, 128}},
    {"INT4, groups of 64", {kInteger, kF16, 4, 0, 0, 1, 64}},
    {"INT4, groups of 32", {kInteger, kF32, 4, 0, 0, 1, 32}},
    {"INT4 with zeros, groups of 128", {kInteger, kF16, 4, 1, 0, 1, 128}},
    {"INT4 with zeros, groups of 64", {kInteger, kBF16, 4, 1, 0, 1, 64}},
    {"INT4 with zeros, groups of 32", {kInteger, kBF16, 4, 1, 0, 1, 32}},
    {"INT8", {kInteger, kBF16, 8, 0, 0, 1, 128}},
    {"INT8 with zeros", {kInteger, kF32, 8, 1, 0, 1, 256}},
    {"NVFP4", {kFp4, kE4M3, 4, 0, 0, 1, 16}},
    {"MXFP4", {kFp4, kE8M0, 4, 0, 0, 1, 32}},
};

/// A matrix of random codes, packed for a device.
struct PackedWeights {
  WeightLayout layout;
  std::vector<uint32_t> packed;

  PackedWeights(const Format& f, int64_t n_out, int64_t n_in, uint32_t seed)
      : layout(layout_of(f, n_out, n_in)) {
    std::mt19937 random(seed);
    const int64_t width = is_plain(f) ? bytes_of(f.number) : 1;
    std::vector<uint8_t> codes(static_cast<size_t>(n_out * n_in * width));
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] = static_cast<uint8_t>(random() & (layout.codes == kNibbles ? 15u : 255u));
      if (f.scheme == kFp8 && (codes[i] & 0x7F) == 0x7F) codes[i] = 0;
      // BF16 between 2^-8 and 2: the high byte is sign and exponent.
      if (is_plain(f) && i % 2 == 1) codes[i] = static_cast<uint8_t>((codes[i] & 0x83) | 0x3C);
    }
    const int64_t patches = n_patches(f, n_in);
    std::vector<float> scales(static_cast<size_t>(n_out * patches));
    std::vector<uint8_t> zeros(scales.size());
    for (int64_t i = 0; i < n_out * patches; ++i) {
      // Rows of a patch share its scale; what every kind of scale can hold, subnormal E4M3 too.
      const uint32_t word =
          f.patch_rows > 1 ? static_cast<uint32_t>(i % patches * 7 + 3) : random();
      const float size = static_cast<float>(word % 8 + 8) * 0x1p-9f;
      scales[static_cast<size_t>(i)] =
          f.number == kE8M0   ? std::ldexp(1.0f, static_cast<int>(word % 20) - 15)
          : f.number == kE4M3 ? e4m3_to_f32(static_cast<uint8_t>(word % 126 + 1))
                              : size;
      zeros[static_cast<size_t>(i)] =
          static_cast<uint8_t>(random() & (layout.codes == kNibbles ? 15u : 255u));
    }
    MatrixRows rows{f, n_out, n_in, 0, n_out, codes.data(), scales.data(), zeros.data(), nullptr};
    packed.resize(static_cast<size_t>(layout.bytes / 4));
    pack_on_host(&rows, packed.data());
  }

  double number(int64_t row, int64_t k) const {
    const double scale =
        is_plain(layout.format) ? 1 : double{scale_at(layout, packed.data(), row, k)};
    return scale * double{number_at(layout, packed.data(), row, k)};
  }
};

}  // namespace support
