#include <gtest/gtest.h>

#include <cfenv>

#include "runtime/kernels/kernels.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace glint {
namespace {

// Volatile, so that the sums are done at run time.
float TinyHalved() {
  volatile float tiny = 1.2e-38F;
  volatile float half = 0.5F;
  return tiny * half;
}

TEST(FloatEnvironmentTest, RoundsToNearestInsideAndRestoresOutside) {
  ASSERT_EQ(std::fesetround(FE_UPWARD), 0);
  volatile float one = 1.0F;
  volatile float small = 0x1p-30F;
  {
    const FloatEnvironment environment;
    EXPECT_EQ(one + small, 1.0F);
  }
  const float outside = one + small;
  std::fesetround(FE_TONEAREST);
  EXPECT_GT(outside, 1.0F);
}

#if defined(__x86_64__)
TEST(FloatEnvironmentTest, KeepsDenormalsInsideAndRestoresFlushingOutside) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040U);  // flush to zero, denormals are zero
  float inside = 0;
  {
    const FloatEnvironment environment;
    inside = TinyHalved();
  }
  const float outside = TinyHalved();
  _mm_setcsr(before);
  EXPECT_GT(inside, 0.0F);
  EXPECT_EQ(outside, 0.0F);
}
#endif

}  // namespace
}  // namespace glint
