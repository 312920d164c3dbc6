#include "tools/experts/row_products.h"

#include <algorithm>
#include <cstring>

namespace mm2 {

namespace {

constexpr size_t kLanes = 4;
constexpr size_t kTileA = 2;
constexpr size_t kTileB = 2;

// Two halves of two lanes: what every 64-bit x86 has registers for.
using Pair = double __attribute__((vector_size(16)));

struct Lanes {
  Pair low, high;
};

inline Lanes load(const double* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

inline double sum(const Lanes& lanes) {
  return (lanes.low[0] + lanes.low[1]) + (lanes.high[0] + lanes.high[1]);
}

// A block of rows as doubles, filled up with zeros to whole lanes and whole tiles.
struct Rows {
  std::vector<double> values;  // [n_rows rounded up to tiles, stride]
  size_t stride = 0;
  const double* row(size_t i) const { return &values[i * stride]; }
};

Rows widened(std::span<const float> from, size_t n_rows, size_t width, size_t tile) {
  Rows rows;
  rows.stride = (width + kLanes - 1) / kLanes * kLanes;
  rows.values.assign((n_rows + tile - 1) / tile * tile * rows.stride, 0);
  for (size_t i = 0; i < n_rows; ++i) {
    std::copy_n(&from[i * width], width, &rows.values[i * rows.stride]);
  }
  return rows;
}

struct Tile {
  double at[kTileA][kTileB];
};

Tile tile_product(const Rows& a, const Rows& b, size_t i, size_t j) {
  Lanes sums[kTileA][kTileB] = {};
  for (size_t k = 0; k < a.stride; k += kLanes) {
    Lanes left[kTileA];
    for (size_t x = 0; x < kTileA; ++x) left[x] = load(a.row(i + x) + k);
    for (size_t y = 0; y < kTileB; ++y) {
      const Lanes right = load(b.row(j + y) + k);
      for (size_t x = 0; x < kTileA; ++x) {
        sums[x][y].low += left[x].low * right.low;
        sums[x][y].high += left[x].high * right.high;
      }
    }
  }
  Tile tile;
  for (size_t x = 0; x < kTileA; ++x) {
    for (size_t y = 0; y < kTileB; ++y) tile.at[x][y] = sum(sums[x][y]);
  }
  return tile;
}

}  // namespace

std::vector<double> row_products(std::span<const float> a, std::span<const float> b, size_t n_a,
                                 size_t n_b, size_t width) {
  constexpr size_t kBlockB = 16;  // rows of b that stay in the cache while those of a pass
  std::vector<double> products(n_a * n_b);
  if (products.empty() || width == 0) return products;
  const Rows left = widened(a, n_a, width, kTileA);
  const Rows right = widened(b, n_b, width, kTileB);
  for (size_t block = 0; block < n_b; block += kBlockB) {
    const size_t end = std::min(n_b, block + kBlockB);
    for (size_t i = 0; i < n_a; i += kTileA) {
      for (size_t j = block; j < end; j += kTileB) {
        const Tile tile = tile_product(left, right, i, j);
        for (size_t x = 0; x < std::min(kTileA, n_a - i); ++x) {
          for (size_t y = 0; y < std::min(kTileB, end - j); ++y) {
            products[(i + x) * n_b + j + y] = tile.at[x][y];
          }
        }
      }
    }
  }
  return products;
}

double row_product(const float* row, const double* vector, size_t width) {
  double lanes[kLanes] = {};
  for (size_t k = 0; k < width; ++k) {
    lanes[k % kLanes] += static_cast<double>(row[k]) * vector[k];
  }
  return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

}  // namespace mm2
