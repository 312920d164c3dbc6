// Loading of quantised matrices as a model loads them: from a file in the page cache, packed
// for the kernels of this machine. GB/s of the file's bytes, next to a plain copy by as many threads;
// "fresh memory": with what the system takes to clear new pages.
//   load_bench FOLDER [GIBIBYTES [THREADS [DIALECT ...]]]
#include <algorithm>

#include "bench/dialects.h"
#include "model/backends.h"
#include "model/weight_loader.h"

namespace {

using namespace bench;

/// Gives the same memory again, so that the time that the system takes to clear pages, which a copy
/// does not pay either, is not counted.
class SameMemory final : public Allocator {
 public:
  explicit SameMemory(size_t n_bytes) : bytes_(static_cast<int64_t>(n_bytes)) {}
  void* allocate(size_t size, size_t alignment) noexcept override {
    if (size < bytes_.size / 2 || size > bytes_.size) return others_->allocate(size, alignment);
    return bytes_.data.get();
  }
  void release(void* p, size_t size, size_t alignment) noexcept override {
    if (p != bytes_.data.get()) others_->release(p, size, alignment);
  }

 private:
  Bytes bytes_;
  std::shared_ptr<Allocator> others_ = default_allocator();
};

// Bytes of this process in memory.
double resident() {
  long pages = 0;
  if (std::FILE* statm = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(statm, "%*s %ld", &pages) != 1) pages = 0;
    std::fclose(statm);
  }
  return 4096.0 * static_cast<double>(pages);
}

void measure_dialect(Team& team, CopyProbe& probe, const kernels::Backend& backend,
                     const Dialect& dialect, const std::string& file, int64_t n_bytes) {
  Set set(dialect, n_bytes);
  set.move_to_file(file);
  const auto n = static_cast<int32_t>(set.places().size());
  std::vector<kernels::Matrix> matrices(static_cast<size_t>(n));
  std::vector<WeightSlot> slots;
  for (int32_t i = 0; i < n; ++i) {
    slots.push_back({Role::w1, i, &matrices[static_cast<size_t>(i)]});
  }
  const DescribedWeights described(set.places(), set.descriptions());
  WeightPlan plan;
  if (const Status s = plan_weights(described, set, backend, true, 0, slots, plan); !s.ok()) {
    Set::give_up(s);
  }
  const auto executor = make_thread_team(team.n_threads());
  const auto memory_of = [&](bool same) {
    Host host;
    if (same) host.allocator = std::make_shared<SameMemory>(plan.owned_bytes);
    return host;
  };
  double grown = 0;
  for (const bool same : {true, false}) {
    const Host host = memory_of(same);
    const auto figures = measure(
        6, static_cast<double>(plan.read_bytes) / 1e9, [&] { return probe.copy(); },
        [&](int) {
          Buffer memory;
          std::vector<float> scales;
          const double before = resident();
          const Status s = load_weights(plan, set, backend, **executor, host, memory, scales);
          if (!s.ok()) Set::give_up(s);
          grown = resident() - before;
        });
    print(join(dialect.name, same ? "" : ", fresh memory"), figures, "GB/s");
  }
  const auto packed = static_cast<double>(plan.owned_bytes);
  std::printf("    packed %.4f of the file's bytes; the process grew by %.4f of the packed\n",
              packed / static_cast<double>(plan.read_bytes), grown / packed);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: load_bench FOLDER [GIBIBYTES [THREADS [DIALECT ...]]]\n");
    return 1;
  }
  const double gibibytes = argc > 2 ? std::atof(argv[2]) : 1;
  const int32_t n_threads = argc > 3 ? std::atoi(argv[3]) : usable_cores();
  Team team(n_threads);
  CopyProbe probe(team);
  const auto backend = choose_backend(Isa::automatic);
  if (!backend.ok()) Set::give_up(backend.status());
  std::printf("%.1f GiB, %d threads, %s kernels; copy probe %.1f GB/s\n", gibibytes, n_threads,
              (*backend)->name, probe.copy());
  for (const Dialect& dialect : dialects()) {
    if (argc > 4 &&
        std::none_of(argv + 4, argv + argc, [&](std::string n) { return n == dialect.name; })) {
      continue;
    }
    measure_dialect(team, probe, **backend, dialect, std::string(argv[1]) + "/mm2_load_bench",
                    static_cast<int64_t>(gibibytes * 1024) << 20);
  }
  return 0;
}
