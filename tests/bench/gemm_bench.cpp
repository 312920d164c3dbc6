// Several tokens times one matrix: GFLOP/s against what vdpbf16ps gives in registers (where there is
// none, multiplications and additions of the baseline instruction set), for each backend and format,
// in the operation `linear`. Eigen with F32 for comparison. With activations of 8 bits: against
// vpdpbusd.
//   gemm_bench [backend,format[,int8] ...]
#include "bench/backends.h"
#include "bench/formats.h"
#include "bench/weights.h"

namespace {

using namespace bench;
using namespace mm2::kernels;

constexpr int64_t kOut = 3072, kIn = 3072;

double peak_now(Team& team, Probe& probe, int32_t activations) {
#if defined(__x86_64__)
  if (has_avx512() && activations == kI8) return chain_rate(team, int8_chains, 128, 30'000);
  if (has_avx512()) return chain_rate(team, bf16_chains, 64, 30'000);
#endif
  return probe.compute();
}

template <typename Work>
void measure_tokens(Team& team, Probe& probe, const std::string& name, int32_t n_tokens,
                    int32_t activations, const Work& work) {
  const int turns = n_tokens < 128 ? 40 : 16;
  const auto figures = measure(
      turns, 2.0 * kOut * kIn * n_tokens / 1e9, [&] { return peak_now(team, probe, activations); },
      work);
  print(name + ", " + std::to_string(n_tokens) + " tokens", figures, "GFLOP/s");
}

}  // namespace

int main(int argc, char** argv) {
  Team team(2);
  Probe probe(team);
  const Peaks peaks = measure_peaks(team);
  std::printf(
      "w [%d, %d], %d threads; GFLOP/s of multiply-adds %.0f, vdpbf16ps %.0f, vpdpbusd %.0f\n",
      int{kOut}, int{kIn}, team.n_threads(), peaks.fma, peaks.bf16, peaks.int8);
  for (const int32_t n_tokens : {2, 4, 8, 16, 64, 512}) {
    for (const Backend* backend : backends_here()) {
      if (backend == generic_backend() && argc < 2) continue;
      for (const NamedFormat& named : bench_formats()) {
        for (const int32_t activations : {kBF16, kI8}) {
          const std::string name = name_of(*backend, named, activations);
          if (entering(named.format, activations) != activations) continue;
          if (!is_wanted(name, argc, argv)) continue;
          const Matrices w(*backend, named.format, kOut, kIn, 1);
          Linear linear(*backend, team, kOut, kIn, n_tokens);
          measure_tokens(team, probe, name, n_tokens, activations,
                         [&](int) { linear.run(w.at(0), activations); });
        }
      }
    }
    if (!is_wanted("Eigen", argc, argv)) continue;
    const PlainMatrix w(kOut, kIn);
    Linear linear(*generic_backend(), team, kOut, kIn, n_tokens);
    measure_tokens(team, probe, "Eigen, f32", n_tokens, kBF16,
                   [&](int) { linear.run_eigen(w.matrix); });
  }
}
