// One token times matrices that come from memory: GB/s of weights against the read probe.
#include "bench/weights.h"

namespace {

using namespace bench;
using namespace mm2::kernels;

constexpr int64_t kOut = 3072, kIn = 3072;

void measure_number(Team& team, Probe& probe, int32_t number, const char* name,
                    int32_t activations) {
  constexpr int64_t kTotal = int64_t{600} << 20;
  const int64_t one = kOut * kIn * bytes_of(number);
  std::vector<PackedMatrix> matrices;
  for (int64_t i = 0; i * one < kTotal; ++i) {
    matrices.emplace_back(*generic_backend(), number, kOut, kIn, static_cast<uint64_t>(i + 1));
  }
  Linear linear(*generic_backend(), team, kOut, kIn, 1);
  const size_t per_turn = static_cast<size_t>((int64_t{64} << 20) / one);
  const auto figures = measure(
      30, static_cast<double>(per_turn) * static_cast<double>(one) / 1e9,
      [&] { return probe.read(); },
      [&](int turn) {
        for (size_t i = 0; i < per_turn; ++i) {
          const size_t at = (static_cast<size_t>(turn) * per_turn + i) % matrices.size();
          linear.run(matrices[at].matrix, activations);
        }
      });
  print(name, figures, "GB/s");
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
  print("Eigen, F32", figures, "GB/s");
}

}  // namespace

int main() {
  Team team(2);
  Probe probe(team);
  std::printf("w [%d, %d], one token, %d threads; read probe %.1f GB/s\n", int{kOut}, int{kIn},
              team.n_threads(), probe.read());
  measure_number(team, probe, kBF16, "generic, BF16 weights, BF16 activations", kBF16);
  measure_number(team, probe, kF16, "generic, F16 weights, F32 activations", kF32);
  measure_number(team, probe, kF32, "generic, F32 weights, F32 activations", kF32);
  measure_eigen(team, probe);
}
