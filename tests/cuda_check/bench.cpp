#include "cuda_check/bench.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <set>
#include <utility>

#include "cuda_check/products.h"
#include "cuda_check/synthetic.h"
#include "kernels/api/numbers.h"

namespace check {

using namespace mm2::kernels;
using Json = nlohmann::ordered_json;

namespace {

constexpr int32_t kMaxRows = 128;
constexpr int32_t kFewRows = 8;  // what kernels that stay take

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Distinct experts of the layers of a step.
struct Touched {
  int64_t n_experts = 0, n_layers = 0;
  static void see(void* self, const char* name, int32_t, const void* values, int32_t number,
                  int64_t n_rows, int64_t width) {
    if (number != kI32 || std::strcmp(name, "topk_ids") != 0) return;
    const auto* ids = static_cast<const int32_t*>(values);
    auto& to = *static_cast<Touched*>(self);
    to.n_experts += static_cast<int64_t>(std::set<int32_t>(ids, ids + n_rows * width).size());
    ++to.n_layers;
  }
};

/// An engine over one pool; sequence r owns the blocks from r * blocks_per_row on.
class Bench {
 public:
  Bench(const Plugin& plugin, const SyntheticModel& model, const ModelShape& shape,
        int32_t n_blocks, int32_t max_tokens)
      : plugin_(plugin),
        shape_(shape),
        n_blocks_(n_blocks),
        block_bytes_(plugin.backend().kv_block_bytes(&shape, kAttentionBlock, kE4M3)),
        kv_(plugin, block_bytes_ * n_blocks * shape.n_layers),
        scales_(static_cast<size_t>(shape.n_layers * shape.n_kv_heads), 0.05f),
        logits_(static_cast<size_t>(kMaxRows) * static_cast<size_t>(shape.n_vocab)) {
    DeviceEngineOptions options{};
    options.kv = {kv_.data(), block_bytes_ * n_blocks, block_bytes_,  kAttentionBlock,
                  kE4M3,      scales_.data(),          scales_.data()};
    options.n_blocks = n_blocks;
    options.max_tokens = max_tokens;
    options.max_outputs = options.max_rows = kMaxRows;
    options.max_positions = n_blocks * kAttentionBlock;
    options.activations = kBF16;
    options.kernels = kFast;
    plugin.call([&](const auto& t, DeviceError* error) {
      return t.make_engine(model.handle(), &options, &fast_, error);
    });
    options.kernels = kResident;
    options.max_tokens = options.max_outputs = options.max_rows = kFewRows;
    plugin.call([&](const auto& t, DeviceError* error) {
      return t.make_engine(model.handle(), &options, &resident_, error);
    });
    use(kFast);
    for (int32_t b = 0; b < n_blocks; ++b) blocks_.push_back(b);
    fill_cache();
  }
  ~Bench() {
    plugin_.table().free_engine(resident_);
    plugin_.table().free_engine(fast_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  /// The next steps run on these; both see the same positions.
  void use(DeviceKernels kernels) { engine_ = kernels == kResident ? resident_ : fast_; }

  /// One step of n_rows rows of n_tokens tokens each behind `context` positions; seconds.
  double step(int32_t n_rows, int32_t n_tokens, int32_t context) {
    const int32_t blocks_per_row = n_blocks_ / n_rows;
    rows_.clear();
    tokens_.clear();
    positions_.clear();
    for (int32_t r = 0; r < n_rows; ++r) {
      rows_.push_back(
          {r * n_tokens, n_tokens, context, 1, &blocks_[static_cast<size_t>(r * blocks_per_row)]});
      for (int32_t i = 0; i < n_tokens; ++i) {
        tokens_.push_back(next_token(r));
        positions_.push_back(context + i);
      }
    }
    results_.resize(rows_.size());
    touched = Touched();
    const Observer observer{&touched, &Touched::see};
    StepPlan plan{};
    plan.shape = &shape_;
    plan.rows = rows_.data();
    plan.tokens = tokens_.data();
    plan.positions = positions_.data();
    plan.n_rows = plan.n_outputs = n_rows;
    plan.n_tokens = n_rows * n_tokens;
    plan.activations = kBF16;
    plan.logits = logits_.data();
    plan.row_results = results_.data();
    plan.observer = &observer;
    const double begin = now();
    plugin_.call([&](const auto& t, DeviceError* error) { return t.step(engine_, &plan, error); });
    // The host takes the likeliest token, as a greedy sampler does: it is part of decoding.
    const float* first = logits_.data();
    picked_ = static_cast<int32_t>(std::max_element(first, first + shape_.n_vocab) - first);
    return now() - begin;
  }

  bool fits(int32_t n_rows, int64_t positions) const {
    return (positions + kAttentionBlock - 1) / kAttentionBlock * n_rows <= n_blocks_;
  }
  Json describe() const {
    const char* text = plugin_.table().describe(engine_);
    return Json::parse(text == nullptr ? "{}" : text, nullptr, false);
  }

  int64_t most_touched(int64_t n_tokens) const {
    return std::min(n_tokens * shape_.top_k, int64_t{shape_.n_experts});
  }

  Touched touched;

 private:
  int32_t next_token(int32_t row) {
    if (row == 0 && picked_ >= 0) return std::exchange(picked_, -1);
    return static_cast<int32_t>(random_.bits() % static_cast<uint64_t>(shape_.n_vocab));
  }

  // Keys and values of an earlier context: random codes, never NaN.
  void fill_cache() {
    const int64_t n =
        int64_t{kAttentionBlock} * shape_.n_layers * 2 * shape_.n_kv_heads * shape_.head_dim;
    std::vector<uint8_t> codes(static_cast<size_t>(n));
    for (uint8_t& c : codes) c = static_cast<uint8_t>(random_.bits() & 0xBFu);
    for (int32_t b = 0; b < n_blocks_; ++b) {
      const StepRow row{0, kAttentionBlock, 0, 0, &blocks_[static_cast<size_t>(b)]};
      plugin_.call([&](const auto& t, DeviceError* error) {
        return t.write_positions(engine_, &row, 0, kAttentionBlock, codes.data(), error);
      });
    }
  }

  const Plugin& plugin_;
  ModelShape shape_;
  int32_t n_blocks_;
  int64_t block_bytes_;
  Memory kv_;
  std::vector<float> scales_, logits_;
  std::vector<int32_t> blocks_, tokens_, positions_, results_;
  std::vector<StepRow> rows_;
  DeviceEngine *fast_ = nullptr, *resident_ = nullptr, *engine_ = nullptr;
  Random random_{23};
  int32_t picked_ = -1;
};

struct Times {
  double median, p99;
};

// n steps after some that nobody counts; each at the next position.
Times measure(Bench& bench, int32_t n_rows, int32_t n_tokens, int32_t context, int32_t n) {
  std::vector<double> seconds;
  for (int32_t i = -3; i < n; ++i) {
    const int32_t at = n_tokens == 1 ? context + std::max(i, 0) : context;
    const double s = bench.step(n_rows, n_tokens, at);
    if (i >= 0) seconds.push_back(s);
  }
  std::ranges::sort(seconds);
  return {seconds[seconds.size() / 2], seconds[seconds.size() * 99 / 100]};
}

// By the plan of the plug-in; of experts those that were really chosen.
double bytes_read(const Json& plan, double touched, int64_t most_touched) {
  const Json bytes = plan.value("bytes_read_at_most", Json::object());
  double sum = bytes.value("experts", 0.0) * touched / static_cast<double>(most_touched);
  for (const char* part : {"attention", "router", "head", "kv"}) sum += bytes.value(part, 0.0);
  return sum;
}

Json row_json(Bench& bench, const char* what, int32_t n_rows, int32_t n_tokens, int32_t context,
              int32_t n, double ceiling) {
  const Times t = measure(bench, n_rows, n_tokens, context, n);
  Json json = bench.describe();
  const double rate = static_cast<double>(n_rows) * n_tokens / t.median;
  const double touched = static_cast<double>(bench.touched.n_experts) /
                         static_cast<double>(std::max<int64_t>(1, bench.touched.n_layers));
  const double bytes = bytes_read(json, touched, bench.most_touched(n_rows * n_tokens));
  std::printf(
      "%-8s %4d x %5d at %6d  %9.3f ms  p99 %9.3f  %10.1f tok/s  %6.1f experts  %7.1f GB/s  %5.1f "
      "%%\n",
      what, n_rows, n_tokens, context, t.median * 1e3, t.p99 * 1e3, rate, touched,
      bytes / t.median * 1e-9, ceiling > 0 ? 100 * bytes / t.median / ceiling : 0.0);
  std::fflush(stdout);
  return {{"what", what},
          {"rows", n_rows},
          {"tokens", n_tokens},
          {"context", context},
          {"ms", t.median * 1e3},
          {"ms_p99", t.p99 * 1e3},
          {"tok_per_s", rate},
          {"experts_touched", touched},
          {"gb_per_s", bytes / t.median * 1e-9},
          {"share", ceiling > 0 ? Json(bytes / t.median / ceiling) : Json()},
          {"plan", json}};
}

Json layers_json(const Plugin& plugin, ModelShape shape, const BenchOptions& o, double ceiling) {
  // A few layers are more than any cache; the vocabulary is nobody's business here.
  shape.n_layers = std::min(shape.n_layers, 4);
  shape.n_vocab = std::min(shape.n_vocab, 1024);
  Json rows = Json::array();
  for (const LayerRow& r : measure_layers(plugin.index(), shape, format_named(o.quant), 128)) {
    const double rate = r.bytes / r.seconds;
    std::printf("%-9s of a layer, %d x 1 at 128  %9.2f us", r.what.c_str(), r.n_rows,
                r.seconds * 1e6);
    if (r.what == "experts") {
      std::printf("  %7.1f GB/s  %5.1f %%", rate * 1e-9, ceiling > 0 ? 100 * rate / ceiling : 0.0);
    }
    std::printf("\n");
    std::fflush(stdout);
    rows.push_back({{"what", r.what},
                    {"rows", r.n_rows},
                    {"us", r.seconds * 1e6},
                    {"gb_per_s", r.what == "experts" ? Json(rate * 1e-9) : Json()}});
  }
  return rows;
}

Json products_json(const Plugin& plugin, const ModelShape& shape, const BenchOptions& o,
                   double ceiling) {
  const std::vector<int32_t> n_tokens =
      o.tiny ? std::vector<int32_t>{16} : std::vector<int32_t>{16, 64, 128, 512, 2048, 4096, 8192};
  Json rows = Json::array();
  for (const ProductRow& r :
       measure_products(plugin.index(), shape, format_named(o.quant), n_tokens)) {
    const double rate = r.bytes / r.seconds;
    const double peer = r.peer_seconds > 0 ? r.flops / r.peer_seconds * 1e-12 : 0;
    std::printf("%-8s %5d x [%lld, %lld]  %9.1f us  %7.1f GB/s  %5.1f %%  %7.1f TFLOPS",
                r.what.c_str(), r.n_tokens, static_cast<long long>(r.n_out),
                static_cast<long long>(r.n_in), r.seconds * 1e6, rate * 1e-9,
                ceiling > 0 ? 100 * rate / ceiling : 0.0, r.flops / r.seconds * 1e-12);
    if (peer > 0) std::printf("  cuBLASLt BF16 %7.1f", peer);
    std::printf("\n");
    std::fflush(stdout);
    rows.push_back({{"what", r.what},
                    {"tokens", r.n_tokens},
                    {"n_out", r.n_out},
                    {"n_in", r.n_in},
                    {"us", r.seconds * 1e6},
                    {"gb_per_s", rate * 1e-9},
                    {"tflops", r.flops / r.seconds * 1e-12},
                    {"cublaslt_bf16_tflops", peer > 0 ? Json(peer) : Json()}});
  }
  return rows;
}

}  // namespace

Json run_bench(const Plugin& plugin, const BenchOptions& o) {
  const ModelShape shape = o.tiny ? tiny_shape() : true_shape(o.n_layers, o.n_experts);
  const double ceiling = read_ceiling(plugin.index());
  std::printf("read ceiling %.1f GB/s%s\n", ceiling * 1e-9,
              ceiling > 0 ? "" : " (not measured: built without nvcc)");
  const double begin = now();
  const SyntheticModel model(plugin, shape, format_named(o.quant));
  const double packed = static_cast<double>(model.packed_bytes());
  const double rate = model.packing_seconds() > 0 ? packed / model.packing_seconds() : 0;
  std::printf("%d layers, %d experts, %s: %.2f GB on the device in %.1f s, packed at %.2f GB/s\n",
              shape.n_layers, shape.n_experts, o.quant.c_str(), packed * 1e-9, now() - begin,
              rate * 1e-9);
  Json rows = Json::array();
  const int64_t longest = o.tiny ? 128 : o.brief ? 2048 : 131072;
  const int32_t n = o.tiny ? 4 : o.brief ? 32 : 256;
  const int32_t max_tokens = o.tiny ? 128 : 8192;
  // Enough for the longest prompt, and for 64 streams of 2048.
  const int64_t streams = o.tiny || o.brief ? 4 * (128 + n) : 64 * (2048 + n + 64);
  const int64_t positions = std::max<int64_t>(longest + n + max_tokens, streams);
  Bench bench(plugin, model, shape, static_cast<int32_t>(positions / kAttentionBlock + 1),
              max_tokens);
  const auto run = [&](const char* what, int32_t n_rows, int32_t n_tokens, int32_t context,
                       int32_t times) {
    if (!bench.fits(n_rows, int64_t{context} + n_tokens + (n_tokens == 1 ? times : 0))) return;
    rows.push_back(row_json(bench, what, n_rows, n_tokens, context, times, ceiling));
  };
  for (const int32_t context : {128, 2048, 8192, 32768, 131072}) {
    if (context <= longest) run("decode", 1, 1, context, n);
  }
  bench.use(kResident);
  for (const int32_t context : {128, 2048, 8192, 32768, 131072}) {
    if (context <= longest) run("resident", 1, 1, context, n);
  }
  for (int32_t n_rows = 2; n_rows <= kFewRows; n_rows *= 2) run("resident", n_rows, 1, 128, n);
  bench.use(kFast);
  for (const int32_t n_rows : {2, 4, 8, 16, 32, 64, 128}) run("batch", n_rows, 1, 128, n);
  run("batch", 64, 1, 2048, n);
  for (const int32_t n_tokens : {128, 512, 2048, 8192}) {
    if (n_tokens <= max_tokens) run("prefill", 1, n_tokens, 0, o.brief || o.tiny ? 2 : 10);
  }
  if (longest >= 32768) run("prefill", 1, 8192, 24576, 5);  // the last quarter of a prompt of 32768
  return {{"quant", o.quant},
          {"layers", shape.n_layers},
          {"experts", shape.n_experts},
          {"read_gb_per_s", ceiling * 1e-9},
          {"weight_bytes", model.packed_bytes()},
          {"pack_gb_per_s", rate * 1e-9},
          {"rows", rows},
          {"layer_parts", layers_json(plugin, shape, o, ceiling)},
          {"products", products_json(plugin, shape, o, ceiling)}};
}

}  // namespace check
