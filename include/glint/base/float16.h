// IEEE half precision and bfloat16 as bits. Portable, exact, round to nearest even; denormals are kept.
#ifndef GLINT_BASE_FLOAT16_H_
#define GLINT_BASE_FLOAT16_H_

#include <bit>
#include <cstdint>

namespace glint {

constexpr float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1Fu;
  const uint32_t mantissa = half & 0x3FFu;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  // A denormal half is mantissa * 2^-24, which float holds exactly.
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

// Values beyond the largest half (65504 and the rounding above it) become infinity, as the F16C instructions do.
constexpr uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u | ((magnitude >> 13) & 0x3FFu));  // NaN
  if (magnitude >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);
  if (magnitude < 0x33000001u) return static_cast<uint16_t>(sign);  // up to half of the least denormal: to even, zero
  if (magnitude < 0x38800000u) {                                    // denormal half
    const uint32_t shift = 126u - (magnitude >> 23);                // 14 .. 24 bits leave the 24-bit significand
    const uint32_t significand = (magnitude & 0x7FFFFFu) | 0x800000u;
    const uint32_t kept = significand >> shift;
    const uint32_t rest = significand & ((1u << shift) - 1);
    const uint32_t halfway = 1u << (shift - 1);
    return static_cast<uint16_t>(sign | (kept + ((rest > halfway || (rest == halfway && (kept & 1u))) ? 1u : 0u)));
  }
  const uint32_t rebased = magnitude - (112u << 23);
  return static_cast<uint16_t>(sign | ((rebased + 0xFFFu + ((rebased >> 13) & 1u)) >> 13));
}

constexpr float Bfloat16ToFloat(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

}  // namespace glint

#endif  // GLINT_BASE_FLOAT16_H_
