#include "kernels/cpu/avx2/product_of_int8.h"

#include "kernels/cpu/avx2/place.h"

namespace mm2::kernels::avx2 {
namespace {

using layout::kBlockRows;

constexpr int kTile = 6;  // tokens that share the codes of 8 rows in registers

inline __m256i load256(const void* at) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(at));
}

/// Nibbles come apart as bytes of K 0 4 1 5 and 2 6 3 7; so lie the activations.
struct NibbleBytes {
  static constexpr int64_t kCols = 8;    // of a step of 64 rows, which has 256 bytes
  static constexpr int64_t kDwords = 2;  // of activations for a step
  static constexpr int64_t kSteps = 4;   // whose sums of two products fit into 16 bits

  static void store(const int32_t* codes, uint32_t* to) {
    constexpr int kOrder[] = {0, 4, 1, 5, 2, 6, 3, 7};
    for (int d = 0; d < 2; ++d) {
      to[d] = 0;
      for (int i = 0; i < 4; ++i) {
        to[d] |= (static_cast<uint32_t>(codes[kOrder[4 * d + i]]) & 0xFFu) << (8 * i);
      }
    }
  }
  // kSteps steps: at most 8 times 2 * 15 * 127, which is below 2^15.
  template <int n>
  static void add(const char* at, const int32_t* const* x, int64_t d, __m256i (&sums)[n]) {
    const __m256i low = _mm256_set1_epi8(15);
    __m256i words[n];
    for (int64_t s = 0; s < kSteps; ++s, at += 4 * kBlockRows, d += kDwords) {
      const __m256i c = load256(at);
      const __m256i first = _mm256_and_si256(c, low);
      const __m256i second = _mm256_and_si256(_mm256_srli_epi16(c, 4), low);
      for (int t = 0; t < n; ++t) {
        const __m256i a = _mm256_maddubs_epi16(first, _mm256_set1_epi32(x[t][d]));
        const __m256i b = _mm256_maddubs_epi16(second, _mm256_set1_epi32(x[t][d + 1]));
        words[t] = _mm256_add_epi16(s == 0 ? a : _mm256_add_epi16(words[t], a), b);
      }
    }
    for (int t = 0; t < n; ++t) {
      sums[t] = _mm256_add_epi32(sums[t], _mm256_madd_epi16(words[t], _mm256_set1_epi16(1)));
    }
  }
};

/// Bytes times bytes would not fit into 16 bits: both are widened.
struct WholeBytes {
  static constexpr int64_t kCols = 4;
  static constexpr int64_t kDwords = 2;
  static constexpr int64_t kSteps = 1;

  static void store(const int32_t* codes, uint32_t* to) {
    for (int d = 0; d < 2; ++d) {
      to[d] = (static_cast<uint32_t>(codes[2 * d]) & 0xFFFFu) |
              static_cast<uint32_t>(codes[2 * d + 1]) << 16;
    }
  }
  template <int n>
  static void add(const char* at, const int32_t* const* x, int64_t d, __m256i (&sums)[n]) {
    const __m256i c = load256(at), zero = _mm256_setzero_si256();
    const __m256i first = _mm256_unpacklo_epi8(c, zero), second = _mm256_unpackhi_epi8(c, zero);
    for (int t = 0; t < n; ++t) {
      const __m256i a = _mm256_madd_epi16(first, _mm256_set1_epi32(x[t][d]));
      const __m256i b = _mm256_madd_epi16(second, _mm256_set1_epi32(x[t][d + 1]));
      sums[t] = _mm256_add_epi32(sums[t], _mm256_add_epi32(a, b));
    }
  }
};

/// Where a row keeps what its sums begin with: behind its dwords.
template <typename Codes>
constexpr int64_t dwords_of(int64_t n_in) {
  return layout::round_up(n_in, kSumGroup) / Codes::kCols * Codes::kDwords;
}

template <typename Codes>
void prepare_rows(const Matrix& w, const float* const* x, int32_t n, void* room,
                  common::Prepared* prepared) {
  const Format& f = w.format;
  const int64_t cols = sum_group(f), parts = kSumGroup / cols;
  const int32_t factor = f.zeros != 0 ? -1 : -(1 << (f.bits - 1));
  common::quantize_rows(w, x, n, room, prepared, [&](int32_t t, int64_t g, const int32_t* codes) {
    uint32_t* row = reinterpret_cast<uint32_t*>(common::row_of_room(room, w.n_in, t));
    uint32_t* to = row + g * dwords_of<Codes>(kSumGroup);
    for (int64_t k = 0; k < kSumGroup; k += Codes::kCols, to += Codes::kDwords) {
      Codes::store(codes + k, to);
    }
    for (int64_t part = 0; part < parts; ++part) {
      int32_t sum = 0;
      for (int64_t k = 0; k < cols; ++k) sum += codes[part * cols + k];
      row[dwords_of<Codes>(w.n_in) + g * parts + part] = static_cast<uint32_t>(sum * factor);
    }
  });
  for (int32_t t = 0; t < n; ++t) prepared->rows[t] = common::row_of_room(room, w.n_in, t);
}

// The sum groups of 64 rows for n tokens.
template <typename Codes, int n>
void tile(const Place& place, const int32_t* const* x, const float* x_scales, int64_t n_groups,
          float* sums) {
  const int64_t cols = place.blocks.record.cols, n_in = place.w.n_in;
  for (int64_t r = 0; r < place.blocks.n_records; ++r) {
    const char* at = place.start + r * place.blocks.record.bytes;
    const int64_t start = dwords_of<Codes>(n_in) + r;
    const float* x_scale = x_scales + r * cols / kSumGroup;
    for (int v = 0; v < kVectors; ++v) {
      __m256i acc[n];
      for (int t = 0; t < n; ++t) {
        acc[t] = _mm256_set1_epi32(x[t][start]);
        // Zeros and sums of 128 codes of x have 16 bits.
        if (place.w.format.zeros != 0) acc[t] = _mm256_madd_epi16(place.zeros(r, v), acc[t]);
      }
      int64_t d = r * cols / Codes::kCols * Codes::kDwords;
      for (int64_t k = 0; k < cols; k += Codes::kCols * Codes::kSteps) {
        const char* step = at + k / Codes::kCols * 4 * kBlockRows + 32 * v;
        for (int64_t s = 0; s < Codes::kSteps && v % 2 == 0; ++s) {
          _mm_prefetch(step + s * 4 * kBlockRows + kAhead, _MM_HINT_T0);
        }
        Codes::template add<n>(step, x, d, acc);
        d += Codes::kDwords * Codes::kSteps;
      }
      const __m256 scale = place.scales(r, v);
      for (int t = 0; t < n; ++t) {
        float* to = sums + t * kBlockRows + 8 * v;
        const __m256 both = _mm256_mul_ps(scale, _mm256_set1_ps(x_scale[t * n_groups]));
        const __m256 scaled = _mm256_mul_ps(both, _mm256_cvtepi32_ps(acc[t]));
        _mm256_store_ps(to, _mm256_add_ps(_mm256_load_ps(to), scaled));
      }
    }
  }
}

template <typename Codes>
void multiply(const Place& place, const common::Prepared& x, float* sums) {
  constexpr decltype(&tile<Codes, 1>) kTiles[kTile] = {tile<Codes, 1>, tile<Codes, 2>,
                                                       tile<Codes, 3>, tile<Codes, 4>,
                                                       tile<Codes, 5>, tile<Codes, 6>};
  const int64_t n_groups = common::int8_groups(place.w.n_in);
  for (int64_t i = 0; i < x.n * kBlockRows; ++i) sums[i] = 0.0f;
  for (int32_t t0 = 0; t0 < x.n; t0 += kTile) {
    const int32_t n = x.n - t0 < kTile ? x.n - t0 : kTile;
    const int32_t* rows[kTile];
    for (int32_t t = 0; t < n; ++t) rows[t] = reinterpret_cast<const int32_t*>(x.rows[t0 + t]);
    kTiles[n - 1](place, rows, x.scales + t0 * n_groups, n_groups, sums + t0 * kBlockRows);
  }
}

}  // namespace

void prepare_int8(const Matrix& w, const float* const* x, int32_t n, void* room,
                  common::Prepared* prepared) {
  if (w.format.bits == 8) return prepare_rows<WholeBytes>(w, x, n, room, prepared);
  prepare_rows<NibbleBytes>(w, x, n, room, prepared);
}

void product_of_int8(const Matrix& w, int64_t block, const common::Prepared& x, float* sums) {
  const Place place(w, block);
  if (w.format.bits == 8) return multiply<WholeBytes>(place, x, sums);
  multiply<NibbleBytes>(place, x, sums);
}

}  // namespace mm2::kernels::avx2
