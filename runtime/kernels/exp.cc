#include <bit>
#include <cmath>
#include <cstdint>

#include "runtime/kernels/exp_terms.h"
#include "runtime/kernels/kernels.h"

namespace glint {

float Exp(float x) {
  using namespace exp_terms;  // NOLINT: the formula reads as the header states it
  if (x < kExpCut) return 0.0F;
  const float t = std::fma(x, kLog2E, kRoundingShift);
  const float n = t - kRoundingShift;
  float r = std::fma(n, -kLn2High, x);
  r = std::fma(n, -kLn2Low, r);
  float p = kC7;
  p = std::fma(p, r, kC6);
  p = std::fma(p, r, kC5);
  p = std::fma(p, r, kC4);
  p = std::fma(p, r, kC3);
  p = std::fma(p, r, kC2);
  p = std::fma(p, r * r, r) + 1.0F;
  const float power = std::bit_cast<float>((std::bit_cast<uint32_t>(t) + 127) << 23);
  return p * power;
}

}  // namespace glint
