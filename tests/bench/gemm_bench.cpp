// Several tokens times one matrix: GFLOP/s against what vdpbf16ps gives in registers (where there is
// none, multiplications and additions of the baseline instruction set), for each backend and format,
// in the operation `linear`. Eigen with F32 for comparison.
//   gemm_bench [backend,format ...]
#include "bench/backends.h"
#include "bench/formats.h"
#include "bench/weights.h"

namespace {

using namespace bench;
using namespace mm2::kernels;

constexpr int64_t kOut = 3072, kIn = 3072;

double peak_now(Team& team, Probe& probe) {
#if defined(__x86_64__)
  if (has_avx512()) return chain_rate(team, bf16_chains, 64, 30'000);
#endif
  return probe.compute();
}

template <typename Work>
void measure_tokens(Team& team, Probe& probe, const std::string& name, int32_t n_tokens,
                    const Work& work) {
  const int turns = n_tokens < 128 ? 40 : 16;
  const auto figures = measure(
      turns, 2.0 * kOut * kIn * n_tokens / 1e9, [&] { return peak_now(team, probe); }, work);
  print(name + ", " + std::to_string(n_tokens) + " tokens", figures, "GFLOP/s");
}

}  // namespace

int main(int argc, char** argv) {
  Team team(2);
  Probe probe(team);
  const Peaks peaks = measure_peaks(team);
  std::printf("w [%d, %d], %d threads; fused multiply-adds %.0f GFLOP/s, vdpbf16ps %.0f GFLOP/s\n",
              int{kOut}, int{kIn}, team.n_threads(), peaks.fma, peaks.bf16);
  for (const int32_t n_tokens : {2, 4, 8, 16, 64, 512}) {
    for (const Backend* backend : backends_here()) {
      if (backend == generic_backend() && argc < 2) continue;
      for (const NamedFormat& named : bench_formats()) {
        if (!is_wanted(std::string(backend->name) + "," + named.name, argc, argv)) continue;
        const Matrices w(*backend, named.format, kOut, kIn, 1);
        Linear linear(*backend, team, kOut, kIn, n_tokens);
        measure_tokens(team, probe, std::string(backend->name) + ", " + named.name, n_tokens,
                       [&](int) { linear.run(w.at(0), kBF16); });
      }
    }
    if (!is_wanted("Eigen", argc, argv)) continue;
    const PlainMatrix w(kOut, kIn);
    Linear linear(*generic_backend(), team, kOut, kIn, n_tokens);
    measure_tokens(team, probe, "Eigen, f32", n_tokens, [&](int) { linear.run_eigen(w.matrix); });
  }
}
