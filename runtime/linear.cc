#include "runtime/linear.h"

#include <algorithm>
#include <array>

namespace glint {

void ApplyLinear(const Kernels& kernels, ThreadPool* pool, const Matrix& weight, std::span<const float> bias,
                 const Activations& x, float* out, uint64_t out_stride) {
  constexpr uint64_t kRows = 64;  // per kernel call: enough to hide latency, few enough for the stack
  pool->Run([&](uint32_t lane, uint32_t lanes) {
    const LaneRange range = SplitRange(weight.rows, 16, lane, lanes);
    for (uint64_t begin = range.begin; begin < range.end; begin += kRows) {
      const uint64_t count = std::min(kRows, range.end - begin);
      std::array<const std::byte*, kRows> rows;
      for (uint64_t r = 0; r < count; ++r) rows[r] = weight.Row(begin + r);
      kernels.dot_rows(weight.type, rows.data(), count, x, out + begin, out_stride);
      if (bias.empty()) continue;
      for (uint32_t t = 0; t < x.token_count; ++t) {
        for (uint64_t r = begin; r < begin + count; ++r) out[t * out_stride + r] += bias[r];
      }
    }
  });
}

}  // namespace glint
