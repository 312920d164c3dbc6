#include "tools/merge/arc.h"

#include <algorithm>
#include <cmath>

namespace mm2 {
namespace {

constexpr double kSlerpThreshold = 0.9995;
constexpr double kSlerpNorm = 1e-8;
constexpr double kNuslerpNorm = 1e-7;
constexpr double kNuslerpSine = 1e-8;
constexpr double kNuslerpWeights = 1e-6;
constexpr double kTiny = 1e-8;

ArcStep along(bool arc, double cosine, double t) {
  if (!arc) return {false, cosine, 1 - t, t};
  const double angle = std::acos(cosine);
  const double sine = std::sin(angle);
  return {true, cosine, std::sin((1 - t) * angle) / sine, std::sin(t * angle) / sine};
}

std::vector<double> scaled(std::vector<double> x, double by) {
  for (double& value : x) value *= by;
  return x;
}

}  // namespace

ArcStep slerp_step(double aa, double ab, double bb, double t) {
  const double na = std::sqrt(aa), nb = std::sqrt(bb);
  const double d = ab / (na > kSlerpNorm ? na : 1) / (nb > kSlerpNorm ? nb : 1);
  const double cosine = std::clamp(d, -1.0, 1.0);
  return along(std::abs(cosine) <= kSlerpThreshold, cosine, t);
}

ArcStep nuslerp_step(double aa, double ab, double bb, double t) {
  const double na = std::max(std::sqrt(aa), kNuslerpNorm);
  const double nb = std::max(std::sqrt(bb), kNuslerpNorm);
  const double cosine = std::clamp(ab / na / nb, -1.0, 1.0);
  return along((1 - cosine) * (1 + cosine) > kNuslerpSine * kNuslerpSine, cosine, t);
}

double nuslerp_t(double first_weight, double second_weight) {
  const double sum = first_weight + second_weight;
  return std::abs(sum) < kNuslerpWeights ? 0.5 : second_weight / sum;
}

double Gram::product(const std::vector<double>& x, const std::vector<double>& y) const {
  double sum = 0;
  for (size_t i = 0; i < n_; ++i) {
    for (size_t j = 0; j < n_; ++j) sum += x[i] * y[j] * at(i, j);
  }
  return sum;
}

double Gram::norm(const std::vector<double>& x) const {
  return std::sqrt(std::max(0.0, product(x, x)));
}

std::vector<double> multislerp_coefficients(const Gram& gram, std::vector<double> weights) {
  const size_t n = gram.n();
  std::vector<double> mean(n), unit(n);  // in units of the vectors
  double length = 0;
  for (size_t i = 0; i < n; ++i) {
    const double norm = std::sqrt(gram.at(i, i));
    unit[i] = 1 / (norm + kTiny);
    mean[i] = weights[i] * unit[i];
    length += weights[i] * norm;
  }
  const double mean_norm = gram.norm(mean);
  if (mean_norm < kTiny) return weights;
  mean = scaled(std::move(mean), 1 / mean_norm);
  // What is left of each direction across the mean, added up by weight: the step on the sphere.
  std::vector<double> step(n);
  for (size_t i = 0; i < n; ++i) {
    std::vector<double> one(n);
    one[i] = unit[i];
    const double along_mean = gram.product(one, mean);
    step[i] += weights[i] * unit[i];
    for (size_t j = 0; j < n; ++j) step[j] -= weights[i] * along_mean * mean[j];
  }
  const double angle = gram.norm(step) + kTiny;
  std::vector<double> result(n);
  for (size_t i = 0; i < n; ++i)
    result[i] = length * (std::cos(angle) * mean[i] + std::sin(angle) / angle * step[i]);
  return result;
}

std::vector<double> karcher_coefficients(const Gram& gram, int max_iterations, double tolerance) {
  const size_t n = gram.n();
  std::vector<double> unit(n), mean(n);
  size_t n_used = 0;
  double length = 0;
  for (size_t i = 0; i < n; ++i) {
    const double norm = std::sqrt(gram.at(i, i));
    length += norm;
    if (norm <= kTiny) continue;  // has no direction
    unit[i] = 1 / norm;
    ++n_used;
  }
  if (n_used == 0) return std::vector<double>(n, 1.0 / static_cast<double>(n));
  const double weight = 1.0 / static_cast<double>(n_used);
  mean = scaled(unit, weight);
  const double mean_norm = gram.norm(mean);
  if (mean_norm < kTiny) return std::vector<double>(n, 1.0 / static_cast<double>(n));
  mean = scaled(std::move(mean), 1 / mean_norm);
  for (int round = 0; round < max_iterations; ++round) {
    std::vector<double> step(n);
    for (size_t i = 0; i < n; ++i) {
      if (unit[i] == 0) continue;
      std::vector<double> one(n);
      one[i] = unit[i];
      const double cosine = std::clamp(gram.product(one, mean), -1.0, 1.0);
      const double angle = std::acos(cosine), sine = std::sin(angle);
      if (angle < kTiny || sine < kTiny) continue;
      const double by = weight * angle / sine;
      step[i] += by * unit[i];
      for (size_t j = 0; j < n; ++j) step[j] -= by * cosine * mean[j];
    }
    const double size = gram.norm(step);
    if (size < tolerance) break;
    for (size_t j = 0; j < n; ++j)
      mean[j] = std::cos(size) * mean[j] + std::sin(size) / size * step[j];
    mean = scaled(std::move(mean), 1 / gram.norm(mean));
  }
  return scaled(std::move(mean), length / static_cast<double>(n));
}

std::vector<double> model_stock_coefficients(const Gram& gram) {
  const size_t n = gram.n();
  double cosines = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j < n; ++j) {
      const double norms = std::sqrt(gram.at(i, i)) * std::sqrt(gram.at(j, j));
      cosines += norms > 0 ? std::clamp(gram.at(i, j) / norms, -1.0, 1.0) : 0;
    }
  }
  const double count = static_cast<double>(n);
  const double cosine = cosines / (count * (count - 1) / 2);
  const double divisor = 1 + (count - 1) * cosine;
  // Differences that point apart as far as they can say nothing: the base stays.
  const double ratio = divisor > kTiny ? count * cosine / divisor : 0;
  return std::vector<double>(n, ratio / count);
}

}  // namespace mm2
