// The inner product that decode and prefill share: 64 rows of weights, as they are packed, times N
// tokens, by one warpgroup. A token's result has the same bits with every N.
//
// The fast kernels' order of additions, fixed by the shape of the matrix alone: in each record of 128
// columns a chain from +0 in the tensor core, 16 columns at a time, ascending (a chain for each scale
// where a record has two or four of a row); y = fma(scale, chain, y), chains ascending, from +0. y begins
// anew at each piece of records (cuda/decode/plan.h says how long they are), and pieces are added to
// each other, ascending: so blocks may share a row's columns. At the end output_scale.
// kNvfp4 and kMxfp4: code times scale is exact in BF16, and one chain per record is added.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/common/ptx_pairs.h"
#include "kernels/cuda/common/wgmma.h"
#include "kernels/cuda/layout/weights.h"

namespace mm2::kernels::cuda {

/// How codes become the numbers that are multiplied.
enum Decoding : int32_t {
  kAsBf16 = 0,
  kE4m3 = 1,       // one scale per record and row, or of all rows
  kInt4 = 2,       // code - 8
  kInt4Zeros = 3,  // code - zero
  kInt8 = 4,
  kInt8Zeros = 5,
  kNvfp4 = 6,
  kMxfp4 = 7  // scales of 32 columns
};

/// A kernel is compiled for one of these.
template <Decoding kDecoding_, int kChains_ = 1>
struct Product {
  static constexpr Decoding kDecoding = kDecoding_;
  static constexpr int kChains = kChains_;  // of a record
  static constexpr bool kHasZeros = kDecoding == kInt4Zeros || kDecoding == kInt8Zeros;
  static constexpr bool kHasBytes =
      kDecoding == kE4m3 || kDecoding == kInt8 || kDecoding == kInt8Zeros;
  static constexpr int kTileSteps = kDecoding == kAsBf16 ? 1 : kHasBytes ? 2 : 4;
  static constexpr int kSteps = 8;  // of a record
};

/// What a kernel has to know about the records of a matrix.
struct Records {
  int32_t bytes, scales, zeros;  // of one, and where in it
  int32_t scale;                 // the Number of a scale; 0 (kF32) where `shared`
  int32_t shared;
};

MM2_HD static inline Records records_of(const WeightLayout& l) {
  return {l.record_bytes, l.scales, l.zeros, l.scale, l.shared};
}

/// The Decoding of a matrix and its chains in a record; {-1, 0} where the fast kernels have none: F32
/// and F16 numbers, columns in another order, rare groups.
struct Decoded {
  int32_t decoding, chains;
};
MM2_HD static inline Decoded decoded(const WeightLayout& l) {
  const Format& f = l.format;
  const Decoded none{-1, 0};
  if (f.ordered != 0) return none;
  switch (f.scheme) {
    case kPlain:
      return f.number == kBF16 ? Decoded{kAsBf16, 1} : none;
    case kFp8:
      return l.groups == 1 ? Decoded{kE4m3, 1} : none;
    case kInteger:
      if (f.bits == 4) return {f.zeros != 0 ? kInt4Zeros : kInt4, l.groups};
      return l.groups == 1 ? Decoded{f.zeros != 0 ? kInt8Zeros : kInt8, 1} : none;
    default:
      if (f.number == kE4M3) return {kNvfp4, 1};
      return l.groups == 4 && l.shared == 0 ? Decoded{kMxfp4, 1} : none;
  }
}

/// Calls f(Product<...>{}) for what `d` says; false where there is none. Of the host or of a kernel, as f is.
#if defined(__CUDACC__)
#pragma nv_exec_check_disable
#endif
template <typename F>
MM2_HD static inline bool with_product(const Decoded& d, const F& f) {
  switch (d.decoding * 8 + d.chains) {
    case kAsBf16 * 8 + 1:
      return f(Product<kAsBf16>{}), true;
    case kE4m3 * 8 + 1:
      return f(Product<kE4m3>{}), true;
    case kInt4 * 8 + 1:
      return f(Product<kInt4, 1>{}), true;
    case kInt4 * 8 + 2:
      return f(Product<kInt4, 2>{}), true;
    case kInt4 * 8 + 4:
      return f(Product<kInt4, 4>{}), true;
    case kInt4Zeros * 8 + 1:
      return f(Product<kInt4Zeros, 1>{}), true;
    case kInt4Zeros * 8 + 2:
      return f(Product<kInt4Zeros, 2>{}), true;
    case kInt4Zeros * 8 + 4:
      return f(Product<kInt4Zeros, 4>{}), true;
    case kInt8 * 8 + 1:
      return f(Product<kInt8>{}), true;
    case kInt8Zeros * 8 + 1:
      return f(Product<kInt8Zeros>{}), true;
    case kNvfp4 * 8 + 1:
      return f(Product<kNvfp4>{}), true;
    case kMxfp4 * 8 + 1:
      return f(Product<kMxfp4>{}), true;
    default:
      return false;
  }
}

/// What the rows of a thread, 16 w + g and + 8, have in common over one record.
struct RecordRows {
  uint4
      bytes;  // kNvfp4: eight scales of a row, then of the other; kMxfp4: four each; zeros: a row's
              // before the other's
};

template <typename P>
__device__ __forceinline__ RecordRows load_rows(const Records& r, const uint8_t* record) {
  const auto rank_of = static_cast<int32_t>(threadIdx.x % 128 / 4 * 2);
  RecordRows rows{};
  if constexpr (P::kDecoding == kNvfp4) {
    rows.bytes = *reinterpret_cast<const uint4*>(record + r.scales + rank_of * 8);
  } else if constexpr (P::kDecoding == kMxfp4) {
    const uint2 two = *reinterpret_cast<const uint2*>(record + r.scales + rank_of * 4);
    rows.bytes.x = two.x;
    rows.bytes.y = two.y;
  } else if constexpr (P::kDecoding == kInt8Zeros) {
    rows.bytes.x = *reinterpret_cast<const uint16_t*>(record + r.zeros + rank_of);
  } else if constexpr (P::kDecoding == kInt4Zeros) {
    const uint8_t* at = record + r.zeros + rank_of * P::kChains / 2;
    if constexpr (P::kChains == 1) rows.bytes.x = *at;
    if constexpr (P::kChains == 2) rows.bytes.x = *reinterpret_cast<const uint16_t*>(at);
    if constexpr (P::kChains == 4) rows.bytes.x = *reinterpret_cast<const uint32_t*>(at);
  }
  return rows;
}

namespace detail {

/// Both halves of a register: the BF16 that the low half of `x` has.
__device__ __forceinline__ uint32_t twice_low(uint32_t x) {
  return __byte_perm(x, 0, 0x1010);
}
__device__ __forceinline__ uint32_t twice_high(uint32_t x) {
  return __byte_perm(x, 0, 0x3232);
}

/// Register j of a step: pairs of E2M1 as BF16, 2^-126 of what they stand for.
__device__ __forceinline__ uint32_t small_e2m1(uint32_t dword, int j) {
  const uint32_t sign = j == 3 ? dword : dword << (12 - 4 * j);
  const uint32_t size = j == 2 ? dword >> 2 : j == 3 ? dword >> 6 : dword << (6 - 4 * j);
  return (sign & 0x80008000u) | (size & 0x01C001C0u);
}

/// Registers 2 h and 2 h + 1: pairs of E4M3 as BF16.
__device__ __forceinline__ uint32_t from_e4m3(uint32_t dword, int odd) {
  constexpr uint32_t kTwo120 = 0x7B807B80u;
  const uint32_t size = odd != 0 ? dword >> 4 : dword << 4;
  const uint32_t sign = odd != 0 ? dword : dword << 8;
  return multiply_pairs((size & 0x07F007F0u) | (sign & 0x80008000u), kTwo120);
}

/// Codes of 8 bits less `offset` (2^23 + what code 0 stands for, negated): 8 significant bits at most.
__device__ __forceinline__ uint32_t from_byte(uint32_t dword, int odd, float offset) {
  const uint32_t k = 0x4B000000u;
  const float low = __uint_as_float(__byte_perm(dword, k, odd != 0 ? 0x7441 : 0x7440)) - offset;
  const float high = __uint_as_float(__byte_perm(dword, k, odd != 0 ? 0x7443 : 0x7442)) - offset;
  return __byte_perm(__float_as_uint(low), __float_as_uint(high), 0x7632);
}

/// What a zero of row `lower` is for chain c.
template <typename P>
__device__ __forceinline__ uint32_t zero_of(const RecordRows& rows, int lower, int c) {
  if constexpr (P::kDecoding == kInt8Zeros) return rows.bytes.x >> (8 * lower) & 0xFFu;
  return rows.bytes.x >> (4 * (lower * P::kChains + c)) & 0xFu;
}

/// The scale of row `lower` for step s, for pairs of small_e2m1: 2^118 (kNvfp4) or all (kMxfp4) of it.
template <typename P>
__device__ __forceinline__ uint32_t scale_pair(const RecordRows& rows, int lower, int s) {
  if constexpr (P::kDecoding == kMxfp4) {
    const uint32_t code = (lower != 0 ? rows.bytes.y : rows.bytes.x) >> (s / 2 * 8) & 0xFFu;
    // 2^-127 is subnormal; 255 is NaN.
    const uint32_t one = code == 0 ? 0x0040u : code == 255 ? 0x7FC0u : code << 7;
    return twice_low(one);
  } else {
    constexpr uint32_t kTwo120 = 0x7B807B80u, kTwo118 = 0x7A807A80u;
    const uint32_t four =
        lower != 0 ? (s < 4 ? rows.bytes.z : rows.bytes.w) : (s < 4 ? rows.bytes.x : rows.bytes.y);
    const uint32_t two = (s % 2 != 0 ? four >> 4 : four << 4) & 0x07F007F0u;
    const uint32_t scaled = multiply_pairs(multiply_pairs(two, kTwo120), kTwo118);
    return s % 4 < 2 ? twice_low(scaled) : twice_high(scaled);
  }
}

}  // namespace detail

/// The registers of A for the steps of a tile, of which `first` is the first step in the record.
template <typename P>
__device__ __forceinline__ void decode_tile(const uint4& codes, const RecordRows& rows, int first,
                                            uint32_t (&a)[P::kTileSteps][4]) {
  const uint32_t dwords[4] = {codes.x, codes.y, codes.z, codes.w};
  MM2_UNROLL
  for (int i = 0; i < P::kTileSteps * 4; ++i) {
    const int s = i / 4, j = i % 4;
    uint32_t& to = a[s][j];
    if constexpr (P::kDecoding == kAsBf16) {
      to = dwords[j];
    } else if constexpr (P::kDecoding == kE4m3) {
      to = detail::from_e4m3(dwords[s * 2 + j / 2], j % 2);
    } else if constexpr (P::kDecoding == kInt8 || P::kDecoding == kInt8Zeros) {
      float offset = 0x1p23f + 128.0f;
      if constexpr (P::kHasZeros) {
        offset = __uint_as_float(0x4B000000u | detail::zero_of<P>(rows, j % 2, 0));
      }
      to = detail::from_byte(dwords[s * 2 + j / 2], j % 2, offset);
    } else if constexpr (P::kDecoding == kInt4 || P::kDecoding == kInt4Zeros) {
      // 128 + code, less 128 + what code 0 stands for.
      const uint32_t from_128 = (dwords[s] >> (4 * j) & 0x000F000Fu) | 0x43004300u;
      uint32_t offset = 0x43084308u;
      if constexpr (P::kHasZeros) {
        const int c = (first + s) * P::kChains / P::kSteps;
        offset = 0x43004300u | detail::zero_of<P>(rows, j % 2, c) * 0x00010001u;
      }
      to = subtract_pairs(from_128, offset);
    } else if constexpr (P::kDecoding == kNvfp4) {
      to = multiply_pairs(detail::small_e2m1(dwords[s], j),
                          detail::scale_pair<P>(rows, j % 2, first + s));
    } else {
      constexpr uint32_t kTwo126 = 0x7E807E80u;
      to = multiply_pairs(multiply_pairs(detail::small_e2m1(dwords[s], j), kTwo126),
                          detail::scale_pair<P>(rows, j % 2, first + s));
    }
  }
}

/// By what chain c of a record is multiplied, for rows 16 w + g (x) and + 8 (y).
template <typename P>
__device__ __forceinline__ float2 chain_scales(const Records& r, const uint8_t* record, int c) {
  if constexpr (P::kDecoding == kAsBf16 || P::kDecoding == kMxfp4) return make_float2(1.0f, 1.0f);
  if constexpr (P::kDecoding == kNvfp4) return make_float2(256.0f, 256.0f);  // 2^(126 - 118)
  const uint8_t* scales = record + r.scales;
  if (r.shared != 0) {
    const float one = *reinterpret_cast<const float*>(scales + c * 4);
    return make_float2(one, one);
  }
  const auto first = static_cast<int32_t>(threadIdx.x % 128 / 4 * 2) * P::kChains + c;
  const int32_t second = first + P::kChains;
  if (r.scale == kF32) {
    const float* all = reinterpret_cast<const float*>(scales);
    return make_float2(all[first], all[second]);
  }
  if (r.scale == kE8M0) return make_float2(e8m0_to_f32(scales[first]), e8m0_to_f32(scales[second]));
  const uint16_t* all = reinterpret_cast<const uint16_t*>(scales);
  if (r.scale == kF16) return make_float2(f16_to_f32(all[first]), f16_to_f32(all[second]));
  return make_float2(bf16_to_f32(all[first]), bf16_to_f32(all[second]));
}

/// y[64, N] += one record of 64 rows, anywhere in memory, times its 128 columns of N tokens: two
/// K-major tiles of N rows, one behind the other, at the descriptor x. y as in D of wgmma.
template <typename P, int kN>
__device__ __forceinline__ void add_record(Wgmma& mma, const Records& r, const uint8_t* record,
                                           uint64_t x, float (&y)[kN / 2]) {
  constexpr int kStepsOfChain = P::kSteps / P::kChains;
  constexpr uint64_t kNextTile = uint64_t{kN} * kTileRowBytes / 16;
  const RecordRows rows = load_rows<P>(r, record);
  float chain[kN / 2];
  uint32_t a[P::kSteps / P::kTileSteps][P::kTileSteps][4];
  MM2_UNROLL
  for (int s = 0; s < P::kSteps; ++s) {
    const int tile = s / P::kTileSteps, c = s / kStepsOfChain;
    if (s % P::kTileSteps == 0) {
      const uint8_t* codes = record + tile * kTileBytes + threadIdx.x % 128 * 16;
      decode_tile<P>(*reinterpret_cast<const uint4*>(codes), rows, s, a[tile]);
    }
    if (s % P::kTileSteps == 0 || s % kStepsOfChain == 0) mma.fence();
    mma.multiply<kN>(
        chain, a[tile][s % P::kTileSteps],
        x + static_cast<uint64_t>(s / 4) * kNextTile + static_cast<uint64_t>(s % 4) * kStepKMajor,
        s % kStepsOfChain != 0);
    if (s % P::kTileSteps == P::kTileSteps - 1 || s % kStepsOfChain == kStepsOfChain - 1)
      mma.commit();
    if (s % kStepsOfChain == kStepsOfChain - 1) {
      const float2 scale = chain_scales<P>(r, record, c);
      mma.wait<0>(chain);
      MM2_UNROLL
      for (int i = 0; i < kN / 2; ++i) {
        y[i] = __fmaf_rn(i / 2 % 2 != 0 ? scale.y : scale.x, chain[i], y[i]);
      }
    }
  }
}

}  // namespace mm2::kernels::cuda
