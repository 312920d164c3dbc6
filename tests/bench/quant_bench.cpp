// Loading of quantised matrices from memory: reading all parts, decoding them, packing them for the
// kernels of this machine. GB/s of the file's bytes, next to a plain copy by as many threads.
#include "bench/dialects.h"
#include "model/backends.h"
#include "quant/decode.h"
#include "tensor/buffer.h"

namespace {

using namespace bench;

constexpr int64_t kTile = 64;

// Loads the set `turn` by `turn`, some matrices each time.
void measure_dialect(Team& team, CopyProbe& probe, const kernels::Backend& backend,
                     const Dialect& dialect, int64_t n_bytes) {
  const Set set(dialect, n_bytes);
  const auto& matrices = set.matrices();
  const CodedMatrix& first = matrices[0];
  const uint64_t bytes = read_bytes(first, 0, kRows);
  const auto per_turn = static_cast<int32_t>((int64_t{128} << 20) / static_cast<int64_t>(bytes));
  const int64_t packed = backend.packed_bytes(&first.format, kRows, kCols);
  Bytes to(packed * static_cast<int64_t>(matrices.size()));
  const size_t raw_size = raw_bytes(first, kRows), slice = raw_size + staged_bytes(first, kTile);
  Bytes staging(static_cast<int64_t>(slice) * team.n_threads());
  const auto load = [&](bool pack, int turn) {
    DecodeNotes notes;
    team.run(per_turn, [&](int32_t i, int32_t worker) {
      const size_t at =
          (static_cast<size_t>(turn) * static_cast<size_t>(per_turn) + static_cast<size_t>(i)) %
          matrices.size();
      const CodedMatrix& m = matrices[at];
      auto* memory =
          reinterpret_cast<std::byte*>(staging.data.get()) + static_cast<size_t>(worker) * slice;
      const auto raw = read_parts(m, set, 0, kRows, false, memory);
      if (!raw.ok()) Set::give_up(raw.status());
      for (int64_t row = 0; row < kRows; row += kTile) {
        kernels::MatrixRows rows;
        const Status status = decode(m, set, *raw, row, kTile, memory + raw_size, rows, notes);
        if (!status.ok()) Set::give_up(status);
        if (pack) backend.pack(&rows, to.data.get() + static_cast<int64_t>(at) * packed);
      }
    });
  };
  for (const bool pack : {false, true}) {
    const auto figures = measure(
        12, static_cast<double>(bytes) * per_turn / 1e9, [&] { return probe.copy(); },
        [&](int turn) { load(pack, turn); });
    print(join(dialect.name, pack ? ", packed" : ", decoded"), figures, "GB/s");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const double gibibytes = argc > 1 ? std::atof(argv[1]) : 1;
  const int32_t n_threads = argc > 2 ? std::atoi(argv[2]) : usable_cores();
  Team team(n_threads);
  CopyProbe probe(team);
  const auto backend = choose_backend(Isa::automatic);
  if (!backend.ok()) Set::give_up(backend.status());
  std::printf("[%d, %d] matrices, %.1f GiB, %d threads, %s kernels; copy probe %.1f GB/s\n",
              int{kRows}, int{kCols}, gibibytes, n_threads, (*backend)->name, probe.copy());
  for (const Dialect& dialect : dialects()) {
    measure_dialect(team, probe, **backend, dialect, static_cast<int64_t>(gibibytes * 1024) << 20);
  }
  return 0;
}
