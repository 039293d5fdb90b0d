#include "runtime/ops.h"

#include <cmath>
#include <cstddef>

#include "glint/base/check.h"

namespace glint {
namespace {

// Sums term(i) in eight fixed lanes and one fixed tree: independent additions for the processor, one order for the
// contract.
template <typename Term>
double SumInLanes(size_t count, Term term) {
  constexpr size_t kLanes = 8;
  double lane[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lane[j] += term(i + j);
  }
  for (size_t j = 0; i < count; ++i, ++j) lane[j] += term(i);
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

}  // namespace

void LayerNorm(std::span<const float> x, std::span<const float> weight, std::span<const float> bias, float epsilon,
               std::span<float> out) {
  GLINT_DCHECK(!x.empty() && out.size() == x.size());
  GLINT_DCHECK(weight.empty() || weight.size() == x.size());
  GLINT_DCHECK(bias.empty() || bias.size() == x.size());
  const auto count = static_cast<double>(x.size());
  const double mean = SumInLanes(x.size(), [&](size_t i) { return static_cast<double>(x[i]); }) / count;
  const double variance = SumInLanes(x.size(),
                                     [&](size_t i) {
                                       const double deviation = x[i] - mean;
                                       return deviation * deviation;
                                     }) /
                          count;
  const double inverse = 1.0 / std::sqrt(variance + epsilon);
  for (size_t i = 0; i < x.size(); ++i) {
    const double scale = weight.empty() ? 1.0 : weight[i];
    const double shift = bias.empty() ? 0.0 : bias[i];
    out[i] = static_cast<float>((x[i] - mean) * inverse * scale + shift);
  }
}

void AddInPlace(std::span<float> y, std::span<const float> x) {
  GLINT_DCHECK(y.size() == x.size());
  for (size_t i = 0; i < y.size(); ++i) y[i] += x[i];
}

void ScaleInPlace(std::span<float> values, float factor) {
  for (float& value : values) value *= factor;
}

void Relu(std::span<float> values) {
  for (float& value : values) value = value <= 0.0F ? 0.0F : value;  // false for NaN
}

}  // namespace glint
