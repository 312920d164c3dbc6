#include "kernels/cpu/generic/codes.h"

#include "kernels/cpu/common/vec.h"

namespace mm2::kernels::generic {

using namespace common;
namespace {

using layout::kBlockRows;

typedef uint16_t U16x4 __attribute__((vector_size(8)));

F32x4 to_f32(U32x4 x) {
  return __builtin_convertvector((I32x4)x, F32x4);
}

// E2M1 in the low 4 bits: with exponent and mantissa in place it is 2^-126 of the float.
F32x4 e2m1(U32x4 code) {
  return as_f32((code & 7u) << 22 | (code & 8u) << 28) * 0x1p126f;
}

// E4M3 in the low 8 bits: the same with 2^-120.
F32x4 e4m3(U32x4 code) {
  return as_f32((code & 0x7Fu) << 20 | (code & 0x80u) << 24) * 0x1p120f;
}

// 8 K of 64 rows: value(row, dword, t, word) of nibble t in the low or the high word.
template <typename Value>
void expand_step(const char* step, float* to, const Value& value) {
  for (int64_t i = 0; i < kBlockRows; i += 4) {
    const U32x4 dwords = load4(reinterpret_cast<const uint32_t*>(step) + i);
    for (int t = 0; t < 4; ++t) {
      store4(to + (2 * t) * kBlockRows + i, value(i, dwords >> 16, t));
      store4(to + (2 * t + 1) * kBlockRows + i, value(i, dwords, t));
    }
  }
}

void expand_nibbles(const Format& f, int64_t cols, const char* at, float* to) {
  const float middle = f.zeros != 0 ? 0.0f : 8.0f;
  for (int64_t k = 0; k < cols; k += 8, at += 4 * kBlockRows, to += 8 * kBlockRows) {
    if (f.scheme == kFp4) {
      expand_step(at, to, [](int64_t, U32x4 c, int t) { return e2m1(c >> (4 * t)); });
    } else {
      expand_step(at, to, [middle](int64_t, U32x4 c, int t) {
        return to_f32(c >> (4 * t) & 15u) - middle;
      });
    }
  }
}

void expand_bytes(const Format& f, int64_t cols, const char* at, float* to) {
  const float middle = f.zeros != 0 ? 0.0f : 128.0f;
  for (int64_t k = 0; k < cols; k += 2, to += 2 * kBlockRows) {
    for (int64_t i = 0; i < kBlockRows; i += 4) {
      U16x4 pairs;
      memcpy(&pairs, at + k / 4 * 4 * kBlockRows + i * 4 + k % 4 * 4, 8);
      const U32x4 c = __builtin_convertvector(pairs, U32x4);
      const U32x4 even = c & 0xFFu, odd = c >> 8;
      store4(to + i, f.scheme == kFp8 ? e4m3(odd) : to_f32(odd) - middle);
      store4(to + kBlockRows + i, f.scheme == kFp8 ? e4m3(even) : to_f32(even) - middle);
    }
  }
}

void expand_ring(const char* at, float* to) {
  alignas(16) float scales[kBlockRows];
  for (int64_t i = 0; i < kBlockRows; ++i) {
    const uint32_t code = static_cast<uint8_t>(at[8 * kBlockRows + i]);
    scales[i] = float_of((135u - (code >> 3)) << 23 | (code & 7u) << 20);
  }
  for (int64_t k = 0; k < 16; k += 8, at += 4 * kBlockRows, to += 8 * kBlockRows) {
    expand_step(at, to, [&scales](int64_t i, U32x4 c, int t) {
      const U32x4 code = c >> (4 * t);
      return e2m1((code >> 1 & 7u) | (code & 1u) << 3) * load4(scales + i);
    });
  }
}

}  // namespace

void expand_codes(const Format& f, const layout::Record& record, const char* at, float* to) {
  switch (layout::codes_of(f)) {
    case layout::kNumbers:
      break;
    case layout::kNibbles:
      expand_nibbles(f, record.cols, at, to);
      break;
    case layout::kBytes:
      expand_bytes(f, record.cols, at, to);
      break;
    case layout::kRing:
      expand_ring(at, to);
      break;
  }
}

void expand_scales(const Format& f, const layout::Blocks& blocks, const char* block, int64_t r,
                   float* to) {
  const char* at = block + r * blocks.record.bytes + blocks.record.scales;
  for (int64_t i = 0; i < kBlockRows; ++i) {
    uint16_t half = 0;
    if (blocks.table != 0) {
      memcpy(to + i, block + blocks.table + 4 * r, 4);
    } else if (f.number == kF32) {
      memcpy(to + i, at + 4 * i, 4);
    } else if (f.number == kE8M0) {
      to[i] = e8m0_to_f32(static_cast<uint8_t>(at[i]));
    } else {
      memcpy(&half, at + 2 * i, 2);
      to[i] = f.number == kBF16 ? bf16_to_f32(half) : f16_to_f32(half);
    }
  }
}

}  // namespace mm2::kernels::generic
