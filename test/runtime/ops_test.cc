#include "runtime/ops.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace glint {
namespace {

TEST(LayerNormTest, HasZeroMeanAndUnitBiasedVarianceWithoutWeights) {
  const std::vector<float> x = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};  // variance 10
  std::vector<float> out(x.size());
  LayerNorm(x, {}, {}, 0.0F, out);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_FLOAT_EQ(out[i], static_cast<float>((static_cast<double>(i) - 5) / std::sqrt(10.0)));
  }
}

TEST(LayerNormTest, AddsEpsilonToTheVarianceBeforeTheRoot) {
  const std::vector<float> x = {1e-3F, -1e-3F};  // variance 1e-6
  std::vector<float> out(2);
  LayerNorm(x, {}, {}, 1e-5F, out);
  EXPECT_FLOAT_EQ(out[0], static_cast<float>(1e-3 / std::sqrt(1.1e-5)));
}

TEST(LayerNormTest, AppliesWeightThenBiasInPlace) {
  std::vector<float> x = {1.0F, 3.0F};
  LayerNorm(x, std::vector<float>{2.0F, 10.0F}, std::vector<float>{0.5F, -1.0F}, 0.0F, x);
  EXPECT_FLOAT_EQ(x[0], -1.5F);
  EXPECT_FLOAT_EQ(x[1], 9.0F);
}

// A float sum of these loses the deviations altogether.
TEST(LayerNormTest, IsAccurateForALargeMeanAndManyElements) {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(1e4F, 1.0F);
  std::vector<float> x(9217);
  for (float& value : x) value = normal(random);
  long double mean = 0;
  for (const float value : x) mean += value;
  mean /= static_cast<long double>(x.size());
  long double variance = 0;
  for (const float value : x) variance += (value - mean) * (value - mean);
  variance /= static_cast<long double>(x.size());
  std::vector<float> out(x.size());
  LayerNorm(x, {}, {}, 1e-5F, out);
  for (size_t i = 0; i < x.size(); ++i) {
    const auto expected = static_cast<float>((x[i] - mean) / std::sqrt(variance + 1e-5F));
    ASSERT_NEAR(out[i], expected, 1e-7F * (1.0F + std::fabs(expected)));
  }
}

TEST(ReluTest, MakesZeroesPositiveAndKeepsNan) {
  std::vector<float> values = {-1.0F,
                               -0.0F,
                               0.0F,
                               1e-40F,
                               2.0F,
                               std::numeric_limits<float>::quiet_NaN(),
                               -std::numeric_limits<float>::infinity()};
  Relu(values);
  for (const size_t i : {0, 1, 2, 6}) EXPECT_EQ(std::bit_cast<uint32_t>(values[i]), 0U) << i;
  EXPECT_EQ(values[3], 1e-40F);
  EXPECT_EQ(values[4], 2.0F);
  EXPECT_TRUE(std::isnan(values[5]));
}

TEST(OpsTest, AddAndScaleWorkInPlace) {
  std::vector<float> y = {1.0F, 2.0F, 3.0F};
  AddInPlace(y, std::vector<float>{0.5F, -2.0F, 1.0F});
  ScaleInPlace(y, 2.0F);
  EXPECT_EQ(y, (std::vector<float>{3.0F, 0.0F, 8.0F}));
}

}  // namespace
}  // namespace glint
