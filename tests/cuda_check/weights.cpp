#include "cuda_check/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/api/format.h"
#include "kernels/api/numbers.h"

namespace check {

using namespace mm2::kernels;

uint64_t Random::bits() {
  uint64_t z = state_ += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

float Random::normal() {
  float sum = 0;
  for (int i = 0; i < 3; ++i) sum += static_cast<float>(bits() >> 40) * 0x1p-23f - 1.0f;
  return sum;
}

std::vector<NamedFormat> all_formats() {
  const int64_t all = int64_t{1} << 40;  // patches as wide or as high as the matrix
  const auto integer = [](int32_t number, int32_t bits, int64_t cols, int32_t zeros,
                          int32_t ordered) {
    return Format{kInteger, number, bits, zeros, ordered, 1, cols};
  };
  const auto fp8 = [](int32_t number, int64_t rows, int64_t cols) {
    return Format{kFp8, number, 8, 0, 0, rows, cols};
  };
  return {{"bf16", plain(kBF16)},
          {"f16", plain(kF16)},
          {"f32", plain(kF32)},
          {"w4-g128", integer(kF16, 4, 128, 0, 0)},
          {"w4-g128-bf16", integer(kBF16, 4, 128, 0, 0)},
          {"w4-g128-zeros", integer(kF16, 4, 128, 1, 0)},
          {"w4-g64", integer(kBF16, 4, 64, 0, 0)},
          {"w4-g32-zeros", integer(kBF16, 4, 32, 1, 0)},
          {"w4-g128-ordered", integer(kF16, 4, 128, 0, 1)},
          {"w4-row", integer(kF32, 4, all, 0, 0)},
          {"w8-row", integer(kBF16, 8, all, 0, 0)},
          {"w8-g128-zeros", integer(kF16, 8, 128, 1, 0)},
          {"fp8-128x128", fp8(kF32, 128, 128)},
          {"fp8-row", fp8(kF32, 1, all)},
          {"fp8-matrix", fp8(kF32, all, all)},
          {"mxfp8", fp8(kE8M0, 1, 32)},
          {"nvfp4", Format{kFp4, kE4M3, 4, 0, 0, 1, 16}},
          {"mxfp4", Format{kFp4, kE8M0, 4, 0, 0, 1, 32}}};
}

namespace {

bool is_four(const Format& f) {
  return f.scheme == kFp4 || (f.scheme == kInteger && f.bits == 4);
}

// What a scale must be multiplied with so that random codes have a deviation of 1.
float spread_of(const Format& f) {
  if (f.scheme == kInteger) return is_four(f) ? 4.6f : 74.0f;
  return is_four(f) ? 3.0f : 120.0f;
}

// A scale that its number holds exactly.
float scale_in(const Format& f, Random& random, float size) {
  const float x = size * (1.0f + 0.3f * random.normal());
  switch (f.number) {
    case kE8M0:
      return float_of(bits_of(std::abs(x) + 1e-20f) & 0x7F800000u);
    case kE4M3:
      return e4m3_to_f32(f32_to_e4m3(x));
    case kBF16:
      return bf16_to_f32(f32_to_bf16(x));
    case kF16:
      return f16_to_f32(f32_to_f16(x));
    default:
      return x;
  }
}

double number_of(const Format& f, uint8_t code, double zero) {
  if (f.scheme == kInteger) return code - zero;
  return f.scheme == kFp8 ? e4m3_to_f32(code) : e2m1_to_f32(code);
}

}  // namespace

HostMatrix::HostMatrix(Random& random, int64_t rows_of_it, int64_t cols_of_it, Format f,
                       float deviation)
    : format(f), n_out(rows_of_it), n_in(cols_of_it) {
  const auto n = static_cast<size_t>(n_out * n_in);
  values.resize(n);
  sizes.resize(n);
  if (is_plain(f)) {
    draw_plain(random, deviation);
    return;
  }
  format.patch_rows = std::min(f.patch_rows, n_out);
  format.patch_cols = std::min(f.patch_cols, n_in);
  draw_scales(random, deviation);
  draw_codes(random);
}

void HostMatrix::draw_plain(Random& random, float deviation) {
  const auto width = static_cast<size_t>(bytes_of(format.number));
  codes.resize(values.size() * width);
  for (size_t i = 0; i < values.size(); ++i) {
    float x = deviation * random.normal();
    const uint16_t half = format.number == kF16 ? f32_to_f16(x) : f32_to_bf16(x);
    if (format.number == kF16) x = f16_to_f32(half);
    if (format.number == kBF16) x = bf16_to_f32(half);
    std::memcpy(&codes[i * width], width == 4 ? static_cast<const void*>(&x) : &half, width);
    values[i] = x;
    sizes[i] = std::abs(x);
  }
}

void HostMatrix::draw_scales(Random& random, float deviation) {
  const int64_t patches = n_patches(format, n_in);
  const float size = deviation / spread_of(format);
  for (int64_t row = 0; row < n_out; ++row) {
    const int64_t above = row / format.patch_rows * format.patch_rows;
    for (int64_t p = 0; p < patches; ++p) {
      scales.push_back(above < row ? scales[static_cast<size_t>(above * patches + p)]
                                   : scale_in(format, random, size));
      zeros.push_back(static_cast<uint8_t>(random.bits() & (is_four(format) ? 15u : 255u)));
    }
  }
  for (int64_t i = 0; i < n_in; ++i) order.push_back(static_cast<int32_t>(i));
  if (format.ordered == 0) return;
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.bits() % i]);
}

void HostMatrix::draw_codes(Random& random) {
  const int64_t patches = n_patches(format, n_in);
  const double middle = format.bits == 8 ? 128 : 8;
  for (int64_t row = 0; row < n_out; ++row) {
    for (int64_t k = 0; k < n_in; ++k) {
      auto code = static_cast<uint8_t>(random.bits() & (is_four(format) ? 15u : 255u));
      if (format.scheme == kFp8 && (code & 0x7Fu) == 0x7Fu) code ^= 1u;  // NaN
      codes.push_back(static_cast<char>(code));
      const auto patch = static_cast<size_t>(row * patches + k / format.patch_cols);
      const double zero = format.zeros != 0 ? zeros[patch] : middle;
      const double scale = std::abs(double{scales[patch]});
      const auto at = static_cast<size_t>(row * n_in + order[static_cast<size_t>(k)]);
      values[at] = number_of(format, code, zero) * double{scales[patch]};
      sizes[at] = format.zeros != 0 ? (code + zero) * scale : std::abs(values[at]);
    }
  }
}

MatrixRows HostMatrix::rows(int64_t first, int64_t n) const {
  const int64_t patches = n_patches(format, n_in);
  const int64_t width = is_plain(format) ? bytes_of(format.number) : 1;
  MatrixRows part{format,  n_out,   n_in,   first, n, codes.data() + first * n_in * width,
                  nullptr, nullptr, nullptr};
  if (!is_plain(format)) part.scales = scales.data() + first * patches;
  if (format.zeros != 0) part.zeros = zeros.data() + first * patches;
  if (format.ordered != 0) part.order = order.data();
  return part;
}

void HostMatrix::set_output(float scale, bool divides) {
  output_scale = scale;
  output_divides = divides ? 1 : 0;
  const double factor = divides ? 1 / double{scale} : double{scale};
  for (double& x : values) x *= factor;
  for (double& x : sizes) x *= std::abs(factor);
}

}  // namespace check
