#include "tools/experts/row_products.h"

#include <algorithm>
#include <cstring>

namespace mm2 {

namespace {

constexpr size_t kLanes = 4;
constexpr size_t kTile = 2;

// Two of the four lanes: what every 64-bit processor has registers for. Sums are kept in variables of
// their own below, since compilers leave arrays of them in memory.
using Pair = double __attribute__((vector_size(16)));

inline Pair load(const double* from) {
  Pair pair;
  std::memcpy(&pair, from, sizeof pair);
  return pair;
}

inline double sum(Pair low, Pair high) {
  return (low[0] + low[1]) + (high[0] + high[1]);
}

// A block of rows as doubles, filled up with zeros to whole lanes and whole tiles.
struct Rows {
  std::vector<double> values;  // [n_rows rounded up to tiles, stride]
  size_t stride = 0;
  const double* row(size_t i) const { return &values[i * stride]; }
};

Rows widened(std::span<const float> from, size_t n_rows, size_t width) {
  Rows rows;
  rows.stride = (width + kLanes - 1) / kLanes * kLanes;
  rows.values.assign((n_rows + kTile - 1) / kTile * kTile * rows.stride, 0);
  for (size_t i = 0; i < n_rows; ++i) {
    std::copy_n(&from[i * width], width, &rows.values[i * rows.stride]);
  }
  return rows;
}

struct Tile {
  double at[kTile][kTile];
};

// Products of rows a and a + stride with rows b and b + stride.
Tile tile_product(const double* a, const double* b, size_t stride) {
  Pair s00{}, s01{}, s10{}, s11{}, t00{}, t01{}, t10{}, t11{};
  for (size_t k = 0; k < stride; k += kLanes) {
    const Pair a0 = load(a + k), a1 = load(a + stride + k);
    const Pair b0 = load(b + k), b1 = load(b + stride + k);
    s00 += a0 * b0;
    s01 += a0 * b1;
    s10 += a1 * b0;
    s11 += a1 * b1;
    const Pair c0 = load(a + k + 2), c1 = load(a + stride + k + 2);
    const Pair d0 = load(b + k + 2), d1 = load(b + stride + k + 2);
    t00 += c0 * d0;
    t01 += c0 * d1;
    t10 += c1 * d0;
    t11 += c1 * d1;
  }
  return {{{sum(s00, t00), sum(s01, t01)}, {sum(s10, t10), sum(s11, t11)}}};
}

}  // namespace

std::vector<double> row_products(std::span<const float> a, std::span<const float> b, size_t n_a,
                                 size_t n_b, size_t width) {
  constexpr size_t kBlockB = 16;  // rows of b that stay in the cache while those of a pass
  std::vector<double> products(n_a * n_b);
  if (products.empty() || width == 0) return products;
  const Rows left = widened(a, n_a, width);
  const Rows right = widened(b, n_b, width);
  for (size_t block = 0; block < n_b; block += kBlockB) {
    const size_t end = std::min(n_b, block + kBlockB);
    for (size_t i = 0; i < n_a; i += kTile) {
      for (size_t j = block; j < end; j += kTile) {
        const Tile tile = tile_product(left.row(i), right.row(j), left.stride);
        for (size_t x = 0; x < std::min(kTile, n_a - i); ++x) {
          for (size_t y = 0; y < std::min(kTile, end - j); ++y) {
            products[(i + x) * n_b + j + y] = tile.at[x][y];
          }
        }
      }
    }
  }
  return products;
}

double row_product(const float* row, const double* vector, size_t width) {
  Pair low{}, high{};
  size_t k = 0;
  for (; k + kLanes <= width; k += kLanes) {
    const Pair a = {static_cast<double>(row[k]), static_cast<double>(row[k + 1])};
    const Pair b = {static_cast<double>(row[k + 2]), static_cast<double>(row[k + 3])};
    low += a * load(vector + k);
    high += b * load(vector + k + 2);
  }
  for (size_t lane = 0; k < width; ++k, ++lane) {
    (lane < 2 ? low : high)[lane % 2] += static_cast<double>(row[k]) * vector[k];
  }
  return sum(low, high);
}

}  // namespace mm2
