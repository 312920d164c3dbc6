// What happens inside the layers, against the traces of the FP64 forward pass.
#include <algorithm>
#include <map>

#include "support/engine.h"
#include "support/golden.h"

namespace {

// Collects what an engine shows, widened to double; keys like "hidden.1" and "q_rope.0".
struct Trace {
  std::map<std::string, std::vector<double>> values;

  static void see(void* self, const char* name, int32_t layer, const void* data, int32_t number,
                  int64_t n_rows, int64_t width) {
    std::string key = name;
    key += '.';
    key += std::to_string(layer);
    auto& to = static_cast<Trace*>(self)->values[key];
    for (int64_t i = 0; i < n_rows * width; ++i) {
      switch (number) {
        case mm2::kernels::kF64:
          to.push_back(static_cast<const double*>(data)[i]);
          break;
        case mm2::kernels::kI32:
          to.push_back(static_cast<const int32_t*>(data)[i]);
          break;
        default:
          to.push_back(static_cast<const float*>(data)[i]);
      }
    }
  }
};

double max_error(const std::vector<double>& got, const std::vector<float>& want) {
  REQUIRE(got.size() == want.size());
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) worst = std::max(worst, std::abs(got[i] - want[i]));
  return worst;
}

// Columns [from, from + n) of rows of `width`.
std::vector<double> columns(const std::vector<double>& rows, size_t width, size_t from, size_t n) {
  std::vector<double> result;
  for (size_t r = 0; r < rows.size(); r += width) {
    for (size_t c = from; c < from + n; ++c) result.push_back(rows[r + c]);
  }
  return result;
}

void compare(const std::string& folder, mm2::Isa isa, double bound) {
  const auto engine = support::engine(
      support::load(golden::kModels + folder, isa),
      {.kv_dtype = mm2::KvDtype::f32, .activations = mm2::Activations::f32, .n_threads = 2});
  Trace trace;
  const mm2::kernels::Observer observer{&trace, &Trace::see};
  engine->observe(&observer);
  support::all_logits(*engine, 0, golden::prompts(folder, "tight")[2].ids);

  const golden::Tensors expected(golden::kModels + folder + "/expected/trace.safetensors");
  const mm2::kernels::ModelShape& s = engine->model().shape();
  const auto top_k = static_cast<size_t>(s.top_k);
  const auto kv_width = static_cast<size_t>(s.n_kv_heads * s.head_dim);
  for (int32_t l = 0; l <= s.n_layers; ++l) {
    const std::string n = std::to_string(l);
    INFO(folder << " layer " << l);
    CHECK(max_error(trace.values["hidden." + n], expected.read("hidden." + n)) <= bound);
    if (l == s.n_layers) break;
    const std::string layer = "layer" + n + ".";
    CHECK(max_error(trace.values["q_rope." + n], expected.read(layer + "q_rope")) <= bound);
    const auto& kv = trace.values["kv." + n];
    CHECK(max_error(columns(kv, 2 * kv_width, 0, kv_width), expected.read(layer + "k_rope")) <=
          bound);
    CHECK(max_error(columns(kv, 2 * kv_width, kv_width, kv_width), expected.read(layer + "v")) <=
          bound);
    CHECK(max_error(trace.values["attn_out." + n], expected.read(layer + "attn_out")) <= bound);

    // Expected ids stand in descending score, ours ascending; every margin of this prompt is far
    // above 1e-3.
    const auto ids = expected.read<int32_t>(layer + "topk_ids");
    const auto weights = expected.read(layer + "topk_weights");
    for (size_t t = 0; t < ids.size(); t += top_k) {
      std::map<int32_t, float> want;
      for (size_t k = 0; k < top_k; ++k) want[ids[t + k]] = weights[t + k];
      size_t k = 0;
      for (const auto& [id, weight] : want) {
        CHECK(trace.values["topk_ids." + n][t + k] == id);
        CHECK(std::abs(trace.values["topk_weights." + n][t + k] - weight) <= bound);
        ++k;
      }
    }
  }
  CHECK(max_error(trace.values["final_norm.-1"], expected.read("hidden.final_norm")) <= bound);
}

}  // namespace

TEST_CASE("trace: hidden states, q/k after RoPE, router and attention equal the FP64 ones") {
  for (const char* folder : {"bf16", "bf16_single"}) {
    // Values are below 16: the stored F32 carries up to 4.8e-7 of rounding.
    compare(folder, mm2::Isa::reference_f64, 1e-6);
    // Float32 over two or three layers: the logit bound of golden_test.cpp, a tenth of it is
    // typical.
    compare(folder, mm2::Isa::reference, 2e-4);
    compare(folder, mm2::Isa::generic, 2e-4);
  }
}
