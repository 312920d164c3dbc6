// How fast the products of many tokens are by themselves: one matrix, and the experts of a layer. They are
// those of the plug-in, from the same build, linked into this program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/api/types.h"

namespace check {

struct ProductRow {
  std::string what;  // "dense" or "experts"
  int32_t n_tokens;
  int64_t n_out, n_in;  // of the matrix; of down, where they are experts
  double seconds;       // of one product, or of a layer's experts with everything around them
  double flops;         // two for each multiply-add that a token needs
  double bytes;         // weights that are read once, of experts those that are chosen
  double peer_seconds;  // cuBLASLt, weights in BF16; 0 where there is none
};

/// Products with weights of random codes, for each number of tokens. Empty where this program was built
/// without a compiler for devices. Throws std::runtime_error with the runtime's words.
std::vector<ProductRow> measure_products(int32_t device_index,
                                         const mm2::kernels::ModelShape& shape,
                                         const mm2::kernels::Format& format,
                                         const std::vector<int32_t>& n_tokens);

struct LayerRow {
  std::string
      what;  // "experts": with router and norm; "attention", "layer", "resident": as one kernel
  int32_t n_rows;
  double seconds;  // of one layer
  double bytes;    // experts that were chosen; 0 where none were
};

/// Layers of decoding by themselves, rows of one token behind `context` positions of FP8. As above.
std::vector<LayerRow> measure_layers(int32_t device_index, const mm2::kernels::ModelShape& shape,
                                     const mm2::kernels::Format& format, int32_t context);

/// Seconds of y[n_tokens, n_out] = x w^T, all BF16, sums in F32, by the algorithm that cuBLASLt thinks
/// best. 0 where libcublasLt.so.13 cannot be opened, or it fails.
double cublaslt_seconds(int32_t n_tokens, int64_t n_out, int64_t n_in);

}  // namespace check
