#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "runtime/kernels/kernels.h"

namespace glint {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Every 97th float of [-87.3, -2^-30], densest near zero as floats are.
std::vector<float> Sample() {
  std::vector<float> sample;
  for (uint32_t bits = std::bit_cast<uint32_t>(0x1p-30F); bits <= std::bit_cast<uint32_t>(87.3F); bits += 97) {
    sample.push_back(-std::bit_cast<float>(bits));
  }
  return sample;
}

double UlpsFromExact(float x) {
  const double exact = std::exp(static_cast<double>(x));
  const auto rounded = static_cast<float>(exact);
  const double ulp = static_cast<double>(std::nextafter(rounded, kInfinity)) - rounded;
  return std::fabs(Exp(x) - exact) / ulp;
}

TEST(ExpTest, IsWithinTwoUlps) {
  double worst = 0;
  for (const float x : Sample()) worst = std::max(worst, UlpsFromExact(x));
  EXPECT_LE(worst, 2.0);
}

TEST(ExpTest, NeverRisesByMoreThanRoundingAsItsArgumentFalls) {
  float before = 1.0F;
  for (const float x : Sample()) {
    const float value = Exp(x);
    EXPECT_LE(value, std::nextafter(before, 2.0F)) << x;
    before = value;
  }
}

TEST(ExpTest, KnowsItsEnds) {
  EXPECT_EQ(Exp(0.0F), 1.0F);
  EXPECT_EQ(Exp(-0.0F), 1.0F);
  EXPECT_EQ(Exp(-1e-40F), 1.0F);
  EXPECT_GT(Exp(-87.3F), 0.0F);
  EXPECT_EQ(std::bit_cast<uint32_t>(Exp(std::nextafter(-87.3F, -kInfinity))), 0U);
  EXPECT_EQ(std::bit_cast<uint32_t>(Exp(-std::numeric_limits<float>::max())), 0U);
  EXPECT_EQ(std::bit_cast<uint32_t>(Exp(-kInfinity)), 0U);
  EXPECT_TRUE(std::isnan(Exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST(ExpTest, EveryTableHasTheBitsOfTheScalarInBodyAndTail) {
  const std::vector<float> sample = Sample();
  for (const Kernels* table : {&PortableKernels(), Avx2KernelsOrNull(), Avx512KernelsOrNull()}) {
    if (table == nullptr) continue;
    std::vector<float> values = sample;
    values.push_back(-kInfinity);
    values.push_back(-0.0F);
    const std::vector<float> arguments = values;
    // Runs of 1 to 40 put every value into bodies and tails alike.
    for (uint64_t begin = 0, count = 1; begin < values.size(); begin += count, count = count % 40 + 1) {
      count = std::min(count, values.size() - begin);
      table->exp_minus(values.data() + begin, count, 0.0F);
    }
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), std::bit_cast<uint32_t>(Exp(arguments[i])))
          << table->name << " at " << arguments[i];
    }
  }
}

TEST(ExpTest, ExpMinusSubtractsTheMaximumAndKeepsNan) {
  for (const Kernels* table : {&PortableKernels(), Avx2KernelsOrNull(), Avx512KernelsOrNull()}) {
    if (table == nullptr) continue;
    std::vector<float> values = {3.0F, -1.25F, std::numeric_limits<float>::quiet_NaN(), -200.0F, 42.0F};
    table->exp_minus(values.data(), 4, 3.0F);
    EXPECT_EQ(values[0], 1.0F) << table->name;
    EXPECT_EQ(values[1], Exp(-4.25F)) << table->name;
    EXPECT_TRUE(std::isnan(values[2])) << table->name;
    EXPECT_EQ(values[3], 0.0F) << table->name;
    EXPECT_EQ(values[4], 42.0F) << table->name << " wrote beyond its count";
  }
}

}  // namespace
}  // namespace glint
