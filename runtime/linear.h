// The matrix products of a step, split by output row among the lanes of the pool.
#ifndef GLINT_RUNTIME_LINEAR_H_
#define GLINT_RUNTIME_LINEAR_H_

#include <span>

#include "runtime/kernels/kernels.h"
#include "runtime/pinned_weights.h"
#include "runtime/thread_pool.h"

namespace glint {

// out[t * out_stride + r] = weight[r] . x[t] + bias[r] for all rows and all tokens of x. An empty bias is none.
// REQUIRES: x has quants where the weight type wants them.
void ApplyLinear(const Kernels& kernels, ThreadPool* pool, const Matrix& weight, std::span<const float> bias,
                 const Activations& x, float* out, uint64_t out_stride);

}  // namespace glint

#endif  // GLINT_RUNTIME_LINEAR_H_
