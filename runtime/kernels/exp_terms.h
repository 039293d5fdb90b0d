// The constants of Exp, shared by the scalar and the vector versions, which do the same operations in the same order:
//
//   t = fma(x, kLog2E, kRoundingShift)       n = t - kRoundingShift            (n = nearest-even(x / ln 2))
//   r = fma(n, -kLn2High, x)                 r = fma(n, -kLn2Low, r)           (|r| <= ln 2 / 2)
//   p = kC7;  p = fma(p, r, c) for c = kC6 .. kC2;  p = fma(p, r * r, r) + 1
//   result = p * 2^n, where 2^n is (bits of t + 127) << 23; +0 where x < kExpCut
//
// Every step is one IEEE operation, so all versions agree to the bit. The polynomial is Cephes' expf (S. Moshier).
#ifndef GLINT_RUNTIME_KERNELS_EXP_TERMS_H_
#define GLINT_RUNTIME_KERNELS_EXP_TERMS_H_

namespace glint::exp_terms {

inline constexpr float kExpCut = -87.3F;  // 2^n stays normal above it
inline constexpr float kLog2E = 1.44269504088896341F;
inline constexpr float kRoundingShift = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
inline constexpr float kLn2High = 0.693359375F;
inline constexpr float kLn2Low = -2.12194440e-4F;
inline constexpr float kC2 = 5.0000001201e-1F;
inline constexpr float kC3 = 1.6666665459e-1F;
inline constexpr float kC4 = 4.1665795894e-2F;
inline constexpr float kC5 = 8.3334519073e-3F;
inline constexpr float kC6 = 1.3981999507e-3F;
inline constexpr float kC7 = 1.9875691500e-4F;

}  // namespace glint::exp_terms

#endif  // GLINT_RUNTIME_KERNELS_EXP_TERMS_H_
