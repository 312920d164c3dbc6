#include "kernels/cuda/decode/product_step.h"

#include "kernels/cuda/decode/model.h"

using namespace support;

namespace {

// What the tensor core may add to a chain of 128 products, as a part of the sum of their sizes: two ulp
// for each addition. Then each chain's fma, each piece and the two at the end, half an ulp each.
double product_bound(double sizes, int64_t n_in) {
  const double chains = static_cast<double>((n_in + 127) / 128 * 4);
  return sizes * (128 * 0x1p-22 + (2 * chains + 2) * kEps) + 1e-30;
}

std::vector<uint16_t> to_bf16(const std::vector<float>& x) {
  std::vector<uint16_t> y;
  for (const float value : x) y.push_back(f32_to_bf16(value));
  return y;
}

void wait_for_all() {
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  REQUIRE(std::string(cuda_emulator::last_failure()) == "");
}

// The parts of a step that every product needs.
struct Stage {
  explicit Stage(int32_t n_tokens) : input(1), partials(1 << 16), counters(256) {
    std::memset(input.get(), 0, sizeof(cuda::StepInput));
    std::memset(counters.get(), 0, 256 * 4);
    input.get()->n_tokens = input.get()->step_tokens = n_tokens;
  }
  cuda::ProductStep step(cuda::Task task, const cuda::DeviceMatrix& m, int32_t piece) const {
    cuda::ProductStep p{};
    p.task = task;
    p.records = cuda::records_of(m.layout);
    p.n_records = static_cast<int32_t>(m.layout.n_records);
    p.n_in = static_cast<int32_t>(m.layout.n_in);
    p.cut = {piece, (p.n_records + piece - 1) / piece};
    p.block_bytes = m.layout.block_bytes;
    p.matrices[0] = cuda::view_of(m);
    for (int i = 1; i < 4; ++i) p.first_block[i] = static_cast<int32_t>(m.layout.n_blocks);
    p.blocks_of_expert = p.first_block[1];
    p.n_out[0] = static_cast<int32_t>(m.layout.n_out);
    p.y_stride = m.layout.n_out;
    p.input = input.get();
    p.partials = partials.get();
    p.counters = counters.get();
    p.eps = 1e-6f;
    return p;
  }
  OnDevice<cuda::StepInput> input;
  OnDevice<float4> partials;
  OnDevice<uint32_t> counters;
};

// x w^T of tokens [first, first + n) through kOTask.
std::vector<float> multiply(const TwoMatrices& w, const std::vector<uint16_t>& x, int32_t first,
                            int32_t n, int32_t piece, int32_t n_blocks) {
  const int64_t n_in = w.device.layout.n_in, n_out = w.device.layout.n_out;
  const Stage stage(n);
  const OnDevice<uint16_t> rows(
      std::vector<uint16_t>(x.begin() + first * n_in, x.begin() + (first + n) * n_in));
  const OnDevice<float> h(std::vector<float>(static_cast<size_t>(n * n_out), 0.0f));
  cuda::ProductStep p = stage.step(cuda::kOTask, w.device, piece);
  p.rows = rows.get();
  p.y = h.get();
  REQUIRE(cuda::run_product(p, cuda::decoded(w.device.layout), n_blocks, false, nullptr) ==
          cudaSuccess);
  wait_for_all();
  return h.read(static_cast<size_t>(n * n_out));
}

}  // namespace

TEST_CASE(
    "cuda decode product: every format stays within the bound of its additions, any batch, any "
    "grid") {
  Random random(21);
  constexpr int64_t kOut = 136, kIn = 392;
  int n_formats = 0;
  for (const NamedFormat& named : all_formats(kOut, kIn)) {
    TwoMatrices w(random, kOut, kIn, named.format, 0.1f);
    w.set_output(0.75f, true);
    if (cuda::decoded(w.device.layout).decoding < 0) continue;
    ++n_formats;
    const std::vector<uint16_t> x = to_bf16(random.vector(8 * kIn));
    const std::vector<float> got = multiply(w, x, 0, 8, 3, 2);
    bool within = true;
    for (int64_t i = 0; i < 8 * kOut; ++i) {
      double exact = 0, sizes = 0;
      for (int64_t k = 0; k < kIn; ++k) {
        const double term = w.weights.at(i % kOut, k) *
                            double{bf16_to_f32(x[static_cast<size_t>(i / kOut * kIn + k)])};
        exact += term;
        sizes += std::abs(term);
      }
      const double error = std::abs(double{got[static_cast<size_t>(i)]} - exact);
      within &= error <= product_bound(sizes, kIn);
    }
    INFO(named.name);
    CHECK(within);
    for (int32_t t = 0; t < 8; t += 3) {
      const auto alone = multiply(w, x, t, 1, 3, 1 + t);
      CHECK(std::memcmp(alone.data(), got.data() + t * kOut, kOut * sizeof(float)) == 0);
    }
    CHECK(same_bits(multiply(w, x, 0, 5, 3, 7),
                    std::vector<float>(got.begin(), got.begin() + 5 * kOut)));
  }
  CHECK(n_formats >= 11);
}

TEST_CASE("cuda decode product: gate, up and down of chosen experts, against FP64") {
  constexpr int32_t kHidden = 264, kInner = 136, kTokens = 3;
  constexpr Format kW4{kInteger, kBF16, 4, 0, 0, 1, 128};
  Random random(22);
  std::deque<TwoMatrices> matrices;
  std::vector<cuda::DeviceExpert> experts;
  for (int e = 0; e < 4; ++e) {
    auto& gate = matrices.emplace_back(random, kInner, kHidden, kW4, 0.1f);
    auto& up = matrices.emplace_back(random, kInner, kHidden, kW4, 0.1f);
    auto& down = matrices.emplace_back(random, kHidden, kInner, kW4, 0.1f);
    experts.push_back({gate.device, up.device, down.device});
  }
  const OnDevice<cuda::DeviceExpert> table(experts);
  const OnDevice<cuda::Routing> routing(1);
  cuda::Routing& r = *routing.get();
  r = {};
  // Experts 1 and 3 by tokens {0, 2} and {0, 1}.
  r.n_touched = 2;
  r.experts[0] = 1, r.experts[1] = 3;
  r.choosers[0] = 5, r.choosers[1] = 3;
  r.shares[0][0] = 0.25f, r.shares[1][0] = 0.75f, r.shares[1][1] = 1.0f, r.shares[0][2] = 1.0f;
  const std::vector<float> h0 = random.vector(kTokens * kHidden);
  const OnDevice<float> h(h0), norm(std::vector<float>(kHidden, 1.0f));
  const OnDevice<uint16_t> act(2 * 8 * kInner);
  const Stage stage(kTokens);
  cuda::ProductStep up = stage.step(cuda::kGateUpTask, experts[0].gate, 2);
  up.experts = table.get();
  up.routing = routing.get();
  up.h = h.get();
  up.norm = norm.get();
  up.act = act.get();
  cuda::ProductStep down = stage.step(cuda::kDownTask, experts[0].down, 1);
  down.experts = table.get();
  down.routing = routing.get();
  down.rows = act.get();
  down.y = h.get();
  const cuda::Decoded d = cuda::decoded(experts[0].gate.layout);
  REQUIRE(cuda::run_product(up, d, 5, false, nullptr) == cudaSuccess);
  REQUIRE(cuda::run_product(down, d, 3, false, nullptr) == cudaSuccess);
  wait_for_all();

  const auto act_of = [&](int e, int t, int i) {
    return double{bf16_to_f32(act.get()[(e * 8 + t) * kInner + i])};
  };
  bool within = true;
  for (int e = 0; e < 2; ++e) {
    const size_t first = static_cast<size_t>(r.experts[e]) * 3;
    for (int t = 0; t < 8; ++t) {
      for (int i = 0; i < kInner; ++i) {
        if ((r.choosers[e] >> t & 1u) == 0) {
          within &= act_of(e, t, i) == 0;
          continue;
        }
        double squares = 0, sums[2] = {0, 0}, sizes[2] = {0, 0};
        for (int k = 0; k < kHidden; ++k) {
          const double x = h0[static_cast<size_t>(t * kHidden + k)];
          squares += x * x;
          for (size_t m = 0; m < 2; ++m) {
            const double term = matrices[first + m].weights.at(i, k) * x;
            sums[m] += term;
            sizes[m] += std::abs(term);
          }
        }
        const double factor = 1 / std::sqrt(squares / kHidden + 1e-6);
        // x enters as BF16: 2^-9 of it at most, which the other errors are far below.
        double off[2];
        for (size_t m = 0; m < 2; ++m) {
          sums[m] *= factor;
          off[m] =
              sizes[m] * factor * (0x1p-9 + 0x1p-17) + product_bound(sizes[m] * factor, kHidden);
        }
        const double silu = sums[0] / (1 + std::exp(-sums[0]));
        const double bound = 1.1 * off[0] * (std::abs(sums[1]) + off[1]) + std::abs(silu) * off[1] +
                             std::abs(silu * sums[1]) * (0x1p-8);
        within &= std::abs(act_of(e, t, i) - silu * sums[1]) <= bound;
      }
    }
  }
  CHECK(within);

  within = true;
  for (int t = 0; t < kTokens; ++t) {
    for (int row = 0; row < kHidden; ++row) {
      double exact = h0[static_cast<size_t>(t * kHidden + row)], sizes = std::abs(exact), bound = 0;
      for (int e = 0; e < 2; ++e) {
        if ((r.choosers[e] >> t & 1u) == 0) continue;
        double sum = 0, sum_sizes = 0;
        for (int i = 0; i < kInner; ++i) {
          const auto& w = matrices[static_cast<size_t>(r.experts[e]) * 3 + 2].weights;
          const double term = w.at(row, i) * act_of(e, t, i);
          sum += term;
          sum_sizes += std::abs(term);
        }
        exact += double{r.shares[e][t]} * sum;
        sizes += double{r.shares[e][t]} * sum_sizes;
        bound += double{r.shares[e][t]} * product_bound(sum_sizes, kInner);
      }
      const double error = std::abs(double{h.get()[t * kHidden + row]} - exact);
      within &= error <= bound + sizes * 4 * kEps;
    }
  }
  CHECK(within);
}
