#include "kernels/support.h"

using namespace support;

namespace {

std::vector<float> run(const std::vector<float>& x, const std::vector<float>& weight,
                       int32_t n_rows, int32_t n_workers) {
  const Workers workers(n_workers);
  std::vector<float> y(x.size());
  const RmsNormArgs<float> args{
      x.data(), weight.data(), 1e-6f, n_rows, static_cast<int32_t>(weight.size()), y.data()};
  tested_backend()->ops->rms_norm(workers.get(), &args);
  return y;
}

}  // namespace

TEST_CASE("rms_norm: the error against FP64 is a few roundings and those of the sum") {
  Random random(1);
  for (const int32_t width : {1, 2, 15, 16, 17, 31, 70, 3072}) {
    const auto x = random.vector(3 * width, 0.01f);
    const auto weight = random.vector(width);
    const auto y = run(x, weight, 3, 1);
    std::vector<double> exact(x.size());
    const auto wide = widened(x);
    const RmsNormArgs<double> args{wide.data(), weight.data(), 1e-6f, 3, width, exact.data()};
    ref::rms_norm(nullptr, &args);
    double worst = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      // Half of the relative error of the sum, whose lanes have width / 16 terms; then the mean,
      // eps, root, quotient and two products.
      const double bound = (width / 32.0 + 8) * kEps * std::abs(exact[i]);
      worst = std::max(worst, std::abs(double{y[i]} - exact[i]) / bound);
    }
    INFO("width " << width);
    CHECK(worst <= 1.0);
  }
}

TEST_CASE("rms_norm: a row's bits are its own, whatever runs beside it, in place too") {
  Random random(2);
  const int32_t width = 77;
  auto x = random.vector(20 * width);
  const auto weight = random.vector(width);
  const auto all = run(x, weight, 20, 3);
  for (int32_t r = 0; r < 20; ++r) {
    const std::vector<float> row(x.begin() + r * width, x.begin() + (r + 1) * width);
    const std::vector<float> want(all.begin() + r * width, all.begin() + (r + 1) * width);
    CHECK(same_bits(run(row, weight, 1, 1), want));
  }
  const RmsNormArgs<float> args{x.data(), weight.data(), 1e-6f, 20, width, x.data()};
  tested_backend()->ops->rms_norm(Workers(2).get(), &args);
  CHECK(same_bits(x, all));
}
