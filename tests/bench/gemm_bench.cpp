// Several tokens times one matrix: GFLOP/s against a probe of multiplications and additions in
// registers, of the same instruction set.
#include "bench/weights.h"

namespace {

using namespace bench;
using namespace mm2::kernels;

constexpr int64_t kOut = 3072, kIn = 3072;

}  // namespace

int main() {
  Team team(2);
  Probe probe(team);
  std::printf("w [%d, %d], %d threads; compute probe %.1f GFLOP/s\n", int{kOut}, int{kIn},
              team.n_threads(), probe.compute());
  const PackedMatrix bf16(*generic_backend(), kBF16, kOut, kIn, 1);
  const PackedMatrix f32(*generic_backend(), kF32, kOut, kIn, 2);
  const PlainMatrix eigen(kOut, kIn);
  for (const int32_t n_tokens : {2, 4, 16, 64, 512}) {
    Linear linear(*generic_backend(), team, kOut, kIn, n_tokens);
    const double work = 2.0 * kOut * kIn * n_tokens / 1e9;
    const int turns = n_tokens < 512 ? 20 : 6;
    const auto compute = [&] { return probe.compute(); };
    const std::string tokens = ", " + std::to_string(n_tokens) + " tokens";
    print("generic, BF16" + tokens,
          measure(turns, work, compute, [&](int) { linear.run(bf16.matrix, kBF16); }), "GFLOP/s");
    print("generic, F32" + tokens,
          measure(turns, work, compute, [&](int) { linear.run(f32.matrix, kF32); }), "GFLOP/s");
    print("Eigen, F32" + tokens,
          measure(turns, work, compute, [&](int) { linear.run_eigen(eigen.matrix); }), "GFLOP/s");
  }
}
