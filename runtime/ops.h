// The small vector operations between the matrix products. One portable implementation for all kernel tables: each is
// either element by element or sums in a fixed order, so its bits depend on its arguments alone.
#ifndef GLINT_RUNTIME_OPS_H_
#define GLINT_RUNTIME_OPS_H_

#include <span>

namespace glint {

// out = (x - mean) / sqrt(variance + epsilon) * weight + bias, with the biased variance as PyTorch has it. Computed in
// double, rounded once. An empty weight counts as ones, an empty bias as zeros. `out` may be `x`.
// REQUIRES: x is not empty; weight, bias and out are as long as x or, the first two, empty.
void LayerNorm(std::span<const float> x, std::span<const float> weight, std::span<const float> bias, float epsilon,
               std::span<float> out);

// y += x. REQUIRES: equal sizes. Serves residuals and biases alike.
void AddInPlace(std::span<float> y, std::span<const float> x);

// values *= factor.
void ScaleInPlace(std::span<float> values, float factor);

// max(v, 0), with +0 for -0 and for all that is negative; NaN stays NaN, so that it is seen and not hidden.
void Relu(std::span<float> values);

}  // namespace glint

#endif  // GLINT_RUNTIME_OPS_H_
