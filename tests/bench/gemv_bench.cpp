// One token times matrices that come from memory: GB/s of weights against the read probe, for each
// backend and format, in the operation `linear`. Eigen with F32 for comparison.
//   gemv_bench [backend,format[,int8] ...]
#include "bench/backends.h"
#include "bench/formats.h"
#include "bench/weights.h"

namespace {

using namespace bench;
using namespace mm2::kernels;

constexpr int64_t kOut = 3072, kIn = 3072;

void measure_format(Team& team, Probe& probe, const Backend& backend, const NamedFormat& named,
                    int32_t activations) {
  constexpr int64_t kTotal = int64_t{640} << 20, kTurn = int64_t{32} << 20;
  const int64_t one = backend.packed_bytes(&named.format, kOut, kIn);
  const Matrices matrices(backend, named.format, kOut, kIn, kTotal / one + 1);
  Linear linear(backend, team, kOut, kIn, 1);
  const int64_t per_turn = kTurn / one + 1;
  const auto figures = measure(
      40, static_cast<double>(per_turn * one) / 1e9, [&] { return probe.read(); },
      [&](int turn) {
        for (int64_t i = 0; i < per_turn; ++i)
          linear.run(matrices.at(turn * per_turn + i), activations);
      });
  print(name_of(backend, named, activations), figures, "GB/s");
}

void measure_eigen(Team& team, Probe& probe) {
  std::vector<std::unique_ptr<PlainMatrix>> matrices;
  for (int i = 0; i < 16; ++i) matrices.push_back(std::make_unique<PlainMatrix>(kOut, kIn));
  Linear linear(*generic_backend(), team, kOut, kIn, 1);
  const auto figures = measure(
      30, 2.0 * kOut * kIn * 4 / 1e9, [&] { return probe.read(); },
      [&](int turn) {
        const size_t at = static_cast<size_t>(turn) * 2 % 16;
        linear.run_eigen(matrices[at]->matrix);
        linear.run_eigen(matrices[at + 1]->matrix);
      });
  print("Eigen, f32", figures, "GB/s");
}

}  // namespace

int main(int argc, char** argv) {
  Team team(2);
  Probe probe(team);
  std::printf("w [%d, %d], one token, %d threads; read probe %.1f GB/s\n", int{kOut}, int{kIn},
              team.n_threads(), probe.read());
  for (const Backend* backend : backends_here()) {
    for (const NamedFormat& named : bench_formats()) {
      const Format& f = named.format;
      for (const int32_t activations : {is_plain(f) && f.number != kBF16 ? kF32 : kBF16, kI8}) {
        if (entering(f, activations) != activations) continue;
        if (!is_wanted(name_of(*backend, named, activations), argc, argv)) continue;
        measure_format(team, probe, *backend, named, activations);
      }
    }
  }
  if (is_wanted("Eigen", argc, argv)) measure_eigen(team, probe);
}
