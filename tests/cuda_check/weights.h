// Random weights of every format, as numbers and as a checkpoint holds them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/api/backend.h"

namespace check {

/// Reproducible random numbers.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits();
  /// About normal, deviation 1.
  float normal();

 private:
  uint64_t state_;
};

struct NamedFormat {
  std::string name;
  mm2::kernels::Format format;
};

/// Every format that checkpoints of the family have, for matrices of any size.
std::vector<NamedFormat> all_formats();

/// One matrix. `values` are its numbers exactly; `sizes` is how much is added up for each of them:
/// with zeros that of the code and that of the zero apart.
struct HostMatrix {
  HostMatrix(Random& random, int64_t n_out, int64_t n_in, mm2::kernels::Format format,
             float deviation);

  /// Rows [first, first + n) for a backend to pack.
  mm2::kernels::MatrixRows rows(int64_t first, int64_t n) const;
  void set_output(float scale, bool divides);

  mm2::kernels::Format format;
  int64_t n_out, n_in;
  float output_scale = 1;
  int32_t output_divides = 0;
  std::vector<double> values, sizes;  // [n_out, n_in], columns of the activations
  std::vector<char> codes;
  std::vector<float> scales;
  std::vector<uint8_t> zeros;
  std::vector<int32_t> order;

 private:
  void draw_plain(Random& random, float deviation);
  void draw_scales(Random& random, float deviation);
  void draw_codes(Random& random);
};

}  // namespace check
