#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "glint/base/check.h"
#include "runtime/kernels/kernels.h"

namespace glint {
namespace {

constexpr uint32_t kInfinityBits = 0x7F800000U;
constexpr float kRoundingShift = 12582912.0F;  // 1.5 * 2^23: adding it rounds to nearest even in the low bits

// One block of 32. Written so that compilers can use any vector width: nothing here depends on order.
void QuantizeBlock(const float* values, int8_t* quants, float* scale, int32_t* group_sums) {
  // Magnitudes compare as their bits do, and NaN is above infinity.
  uint32_t largest_bits = 0;
  for (uint32_t i = 0; i < kQuantBlock; ++i) {
    largest_bits = std::max(largest_bits, std::bit_cast<uint32_t>(values[i]) & 0x7FFFFFFFU);
  }
  const float largest = std::bit_cast<float>(largest_bits);
  const float inverse = 127.0F / largest;
  if (largest_bits >= kInfinityBits || !(inverse <= std::numeric_limits<float>::max())) {
    std::fill_n(quants, kQuantBlock, int8_t{0});
    std::fill_n(group_sums, kQuantBlock / 4, 0);
    *scale = largest_bits >= kInfinityBits ? std::numeric_limits<float>::quiet_NaN() : 0.0F;
    return;
  }
  *scale = largest / 127.0F;
  int32_t rounded[kQuantBlock];
  for (uint32_t i = 0; i < kQuantBlock; ++i) {
    const float shifted = values[i] * inverse + kRoundingShift;
    rounded[i] = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRoundingShift);
    quants[i] = static_cast<int8_t>(rounded[i]);
  }
  for (uint32_t g = 0; g < kQuantBlock / 4; ++g) {
    group_sums[g] = rounded[4 * g] + rounded[4 * g + 1] + rounded[4 * g + 2] + rounded[4 * g + 3];
  }
}

}  // namespace

void QuantizeActivations(const float* values, uint32_t token_count, uint64_t stride, int8_t* quants, float* scales,
                         int32_t* group_sums) {
  GLINT_DCHECK(stride % 64 == 0);
  // Tokens follow each other without a gap, so that they are one run of blocks.
  const uint64_t blocks = token_count * stride / kQuantBlock;
  for (uint64_t b = 0; b < blocks; ++b) {
    const uint64_t i = b * kQuantBlock;
    QuantizeBlock(values + i, quants + i, scales + b, group_sums + i / 4);
  }
}

}  // namespace glint
