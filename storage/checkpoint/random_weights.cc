#include "storage/checkpoint/random_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace glint {
namespace {

constexpr size_t kPoolSize = 1 << 16;  // twice 256 KiB: stays in a core's own cache
constexpr size_t kRun = 4096;          // elements between two jumps in the pool
// The sign and the ten highest bits of the mantissa: what a half can show.
constexpr uint32_t kSignBit = 0x80000000U;
constexpr uint32_t kMantissaBits = 0x007FE000U;

}  // namespace

RandomWeights::RandomWeights(uint64_t seed) : random_(seed), pool_(2 * kPoolSize) {
  double square_sum = 0;
  for (size_t i = 0; i < kPoolSize; ++i) {
    const double z = std::fabs(NormalQuantile((static_cast<double>(i) + 0.5) / kPoolSize));
    pool_[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(static_cast<float>(z)) & 0x7F800000U);  // a power of two
    square_sum += double{pool_[i]} * pool_[i] * 7.0 / 3.0;  // the mean of m^2 for m uniform in [1, 2) is 7/3
  }
  for (size_t i = kPoolSize - 1; i > 0; --i) std::swap(pool_[i], pool_[random_.Below(i + 1)]);
  const auto scale = static_cast<float>(1.0 / std::sqrt(square_sum / kPoolSize));
  std::transform(pool_.begin(), pool_.begin() + kPoolSize, pool_.begin(), [scale](float v) { return v * scale; });
  std::copy_n(pool_.begin(), kPoolSize, pool_.begin() + kPoolSize);
}

void RandomWeights::Fill(std::span<float> into, float deviation) {
  for (size_t begin = 0; begin < into.size(); begin += kRun) {
    const std::span<float> run = into.subspan(begin, std::min(kRun, into.size() - begin));
    const float* pool = pool_.data() + random_.Below(kPoolSize);
    uint64_t bits = 0;
    for (size_t i = 0; i < run.size(); ++i) {
      bits = i % 4 == 0 ? random_.Next() : bits >> 16;
      const auto mantissa = static_cast<uint32_t>(bits << 13) & kMantissaBits;
      const auto sign = static_cast<uint32_t>(bits << 16) & kSignBit;
      // 1.0 to 2.0 in steps of a half's mantissa, with the sign.
      const float factor = std::bit_cast<float>(0x3F800000U | mantissa | sign);
      run[i] = pool[i] * factor * deviation;
    }
  }
}

double NormalQuantile(double p) {
  constexpr double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                          1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
  constexpr double b[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02, 6.680131188771972e+01,
                          -1.328068155288572e+01};
  constexpr double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                          -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
  constexpr double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00};
  constexpr double kTail = 0.02425;
  const auto tail = [&](double q) {
    return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
           ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
  };
  if (p < kTail) return tail(std::sqrt(-2 * std::log(p)));
  if (p > 1 - kTail) return -tail(std::sqrt(-2 * std::log(1 - p)));
  const double q = p - 0.5;
  const double r = q * q;
  return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
         (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
}

}  // namespace glint
