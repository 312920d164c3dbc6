// The experts of one layer at the true shape (192 of [1536, 3072], 8 for each token), every token with
// experts of its own: milliseconds, GB/s of weights that were needed against the read probe, GFLOP/s
// against the arithmetic of this machine.
//   experts_bench [backend,format[,int8] ...]
#include "bench/backends.h"
#include "bench/formats.h"

namespace {

using namespace bench;
using namespace mm2::kernels;

ModelShape layer_shape() {
  ModelShape s{};
  s.n_layers = 1;
  s.hidden = 3072;
  s.n_heads = 48;
  s.n_kv_heads = 8;
  s.head_dim = 128;
  s.rotary_dim = 64;
  s.n_experts = 192;
  s.top_k = 8;
  s.intermediate = 1536;
  s.n_vocab = 1;
  return s;
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

struct Layer {
  const Backend& backend;
  ModelShape s = layer_shape();
  Matrices inner, outer;
  std::vector<ExpertWeights> experts;

  Layer(const Backend& backend_, const Format& f)
      : backend(backend_),
        inner(backend_, f, s.intermediate, s.hidden, 2 * s.n_experts),
        outer(backend_, f, s.hidden, s.intermediate, s.n_experts) {
    for (int64_t e = 0; e < s.n_experts; ++e) {
      experts.push_back({inner.at(2 * e), inner.at(2 * e + 1), outer.at(e)});
    }
  }

  void run(Team& team, int32_t n_tokens, int32_t activations, const std::string& name) {
    uint64_t seed = static_cast<uint64_t>(n_tokens);
    std::vector<float> x(static_cast<size_t>(n_tokens * s.hidden)), h(x.size());
    for (float& v : x) v = random_float(seed);
    const std::vector<float> weights(static_cast<size_t>(n_tokens * s.top_k), 0.125f);
    const Bytes scratch(backend.ops->scratch_bytes(&s, n_tokens, team.n_threads()));
    const double work = 2.0 * n_tokens * s.top_k * 3 * s.hidden * s.intermediate / 1e9;
    double best = 1e9, share = 0, needed = 0;
    std::vector<double> of_fma, of_bf16, of_int8;
    Probe probe(team);
    const int turns = n_tokens < 64 ? 24 : 9;
    for (int turn = 0; turn < turns; ++turn) {
      std::vector<int32_t> ids;
      std::vector<bool> active(static_cast<size_t>(s.n_experts));
      for (int32_t t = 0; t < n_tokens; ++t) draw_experts(seed, ids, active);
      const auto n_active = std::count(active.begin(), active.end(), true);
      const double bytes = static_cast<double>(n_active * (2 * inner.one + outer.one)) / 1e9;
      const ExpertsArgs<float> args{&s,          x.data(),       experts.data(),
                                    ids.data(),  weights.data(), n_tokens,
                                    activations, h.data(),       scratch.data.get()};
      const double read = probe.read();
      const Peaks before = measure_peaks(team, 30'000);
      const double begin = now();
      backend.ops->experts(team.get(), &args);
      const double seconds = now() - begin;
      const Peaks after = measure_peaks(team, 30'000);
      of_fma.push_back(2 * work / seconds / (before.fma + after.fma));
      of_bf16.push_back(2 * work / seconds / (before.bf16 + after.bf16));
      of_int8.push_back(2 * work / seconds / (before.int8 + after.int8));
      if (seconds / bytes < best || turn == 0) {
        best = seconds / bytes;
        needed = bytes;
        share = bytes / seconds / std::max(read, probe.read());
      }
    }
    const double seconds = best * needed;
    std::printf(
        "%-24s %4d tokens %9.2f ms %8.3f ms each %6.1f GB/s %3.0f %% of probe %6.0f GFLOP/s",
        name.c_str(), n_tokens, seconds * 1e3, seconds * 1e3 / n_tokens, needed / seconds,
        share * 100, work / seconds);
    // Medians of shares of what registers give just before and after.
    if (activations == kI8 && measure_peaks(team, 1).int8 > 0) {
      std::printf(" %4.0f %% of vpdpbusd", 100 * median(of_int8));
    } else if (measure_peaks(team, 1).bf16 > 0) {
      std::printf(" %4.0f %% of vdpbf16ps, %3.0f %% of multiply-adds", 100 * median(of_bf16),
                  100 * median(of_fma));
    }
    std::printf("\n");
    std::fflush(stdout);
  }

  void draw_experts(uint64_t& seed, std::vector<int32_t>& ids, std::vector<bool>& active) const {
    std::vector<int32_t> drawn;
    while (static_cast<int32_t>(drawn.size()) < s.top_k) {
      const auto e =
          static_cast<int32_t>((random_float(seed) + 0.5f) * static_cast<float>(s.n_experts));
      if (e >= s.n_experts || std::find(drawn.begin(), drawn.end(), e) != drawn.end()) continue;
      drawn.push_back(e);
      active[static_cast<size_t>(e)] = true;
    }
    std::sort(drawn.begin(), drawn.end());
    ids.insert(ids.end(), drawn.begin(), drawn.end());
  }
};

}  // namespace

int main(int argc, char** argv) {
  Team team(2);
  for (const Backend* backend : backends_here()) {
    if (backend == generic_backend() && argc < 2) continue;
    for (const NamedFormat& named : bench_formats()) {
      for (const int32_t activations : {kBF16, kI8}) {
        const std::string name = name_of(*backend, named, activations);
        if (entering(named.format, activations) != activations) continue;
        if (!is_wanted(name, argc, argv)) continue;
        Layer layer(*backend, named.format);
        for (const int32_t n_tokens : {1, 2, 4, 8, 16, 64, 128, 512}) {
          layer.run(team, n_tokens, activations, name);
        }
      }
    }
  }
}
