#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "runtime/kernels/kernels.h"

namespace glint {
namespace {

struct Quantized {
  explicit Quantized(const std::vector<float>& values, uint32_t tokens = 1)
      : quants(values.size()), scales(values.size() / 32), group_sums(values.size() / 4) {
    QuantizeActivations(values.data(), tokens, values.size() / tokens, quants.data(), scales.data(), group_sums.data());
  }
  std::vector<int8_t> quants;
  std::vector<float> scales;
  std::vector<int32_t> group_sums;
};

TEST(QuantizeActivationsTest, FollowsItsFormulaForEveryToken) {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> values(3 * 128);
  for (float& value : values) value = normal(random);
  const Quantized result(values, 3);
  for (size_t b = 0; b < values.size() / 32; ++b) {
    float largest = 0;
    for (size_t i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(values[b * 32 + i]));
    EXPECT_EQ(result.scales[b], largest / 127.0F);
    for (size_t i = 0; i < 32; ++i) {
      EXPECT_EQ(result.quants[b * 32 + i], std::nearbyint(values[b * 32 + i] * (127.0F / largest)));
    }
  }
  for (size_t g = 0; g < values.size() / 4; ++g) {
    const int8_t* q = result.quants.data() + 4 * g;
    EXPECT_EQ(result.group_sums[g], q[0] + q[1] + q[2] + q[3]);
  }
}

TEST(QuantizeActivationsTest, RoundsHalvesToEven) {
  std::vector<float> values(64, 0.0F);
  values[0] = 127.0F;
  values[1] = 0.5F;
  values[2] = 1.5F;
  values[3] = -2.5F;
  const Quantized result(values);
  EXPECT_EQ(result.scales[0], 1.0F);
  EXPECT_EQ(result.quants[1], 0);
  EXPECT_EQ(result.quants[2], 2);
  EXPECT_EQ(result.quants[3], -2);
}

TEST(QuantizeActivationsTest, StaysWithin127ForEveryMagnitude) {
  for (uint32_t exponent = 0; exponent < 254; ++exponent) {
    std::vector<float> values(64, 0.0F);
    values[5] = -std::ldexp(1.9999999F, static_cast<int>(exponent) - 127);
    values[6] = -values[5];
    const Quantized result(values);
    const int expected = result.scales[0] == 0.0F ? 0 : 127;
    EXPECT_EQ(result.quants[5], -expected) << exponent;
    EXPECT_EQ(result.quants[6], expected) << exponent;
    EXPECT_EQ(result.scales[0] == 0.0F, std::fabs(values[5]) < 3.74e-37F) << exponent;
  }
}

TEST(QuantizeActivationsTest, ZeroesAreZeroes) {
  const Quantized result(std::vector<float>(64, -0.0F));
  EXPECT_EQ(result.scales[0], 0.0F);
  EXPECT_EQ(result.quants[0], 0);
  EXPECT_EQ(result.group_sums[0], 0);
}

TEST(QuantizeActivationsTest, NanAndInfinityMarkTheirBlockAlone) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    std::vector<float> values(64, 1.0F);
    values[7] = bad;
    const Quantized result(values);
    EXPECT_TRUE(std::isnan(result.scales[0]));
    EXPECT_FALSE(std::isnan(result.scales[1]));
  }
}

}  // namespace
}  // namespace glint
