// The benchmark of products runs, on the emulator, and counts what it says.
#include <catch2/catch.hpp>

#include "cuda_check/products.h"
#include "cuda_emulator/emulator.h"
#include "kernels/api/format.h"

using namespace mm2::kernels;

double check::cublaslt_seconds(int32_t, int64_t, int64_t) {
  return 0;
}

TEST_CASE("cuda check: products of every format of the benchmark are measured") {
  cuda_emulator::set({});
  ModelShape s{};
  s.hidden = 256;
  s.intermediate = 128;
  s.n_experts = 4;
  s.top_k = 2;
  for (const Format& f : {Format{kInteger, kBF16, 4, 0, 0, 1, 128}, plain(kBF16)}) {
    const auto rows = check::measure_products(0, s, f, {16, 40});
    INFO(cuda_emulator::last_failure());
    REQUIRE(rows.size() == 4);
    for (const check::ProductRow& r : rows) {
      CHECK(r.seconds > 0);
      CHECK(r.flops ==
            (r.what == "dense" ? 2.0 * r.n_tokens * 256 * 256 : 6.0 * r.n_tokens * 2 * 256 * 128));
      CHECK(r.peer_seconds == 0);
    }
    CHECK(rows[3].bytes <= 4 * (3 * 256 * 128) * 2.01);
    CHECK(std::string(cuda_emulator::last_failure()) == "");
  }
}

TEST_CASE("cuda check: halves of a layer, a layer and the resident kernel are measured") {
  cuda_emulator::set({});
  ModelShape s{};
  s.n_layers = 2;
  s.hidden = 256;
  s.n_heads = 6;
  s.n_kv_heads = 1;
  s.head_dim = 64;
  s.rotary_dim = 32;
  s.intermediate = 128;
  s.n_experts = 8;
  s.top_k = 2;
  s.n_vocab = 64;
  s.rms_norm_eps = 1e-6f;
  s.rope_theta = 1e4;
  const Format w4{kInteger, kBF16, 4, 0, 0, 1, 128};
  const auto rows = check::measure_layers(0, s, w4, 70);
  CHECK(std::string(cuda_emulator::last_failure()) == "");
  REQUIRE(rows.size() == 7);
  for (const check::LayerRow& r : rows) CHECK(r.seconds > 0);
  const double of_expert = 3 * 256 * 128 * 0.515625;
  CHECK(rows[0].bytes == 2 * of_expert);
  CHECK(rows[3].bytes <= 8 * of_expert);
  CHECK(rows[4].bytes == 0);
}
