#include "runtime/kernels/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "test/runtime/kernels/random_rows.h"

namespace glint {
namespace {

using test::RandomActivations;
using test::RandomRows;

constexpr WeightType kTypes[] = {WeightType::kF32, WeightType::kF16, WeightType::kQ8_0, WeightType::kQ4_0};

// The tables that this machine runs, besides the portable one.
std::vector<const Kernels*> VectorTables() {
  std::vector<const Kernels*> tables;
  for (const Kernels* table : {Avx2KernelsOrNull(), Avx512KernelsOrNull()}) {
    if (table != nullptr) tables.push_back(table);
  }
  return tables;
}

std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  std::transform(values.begin(), values.end(), bits.begin(), [](float v) { return std::bit_cast<uint32_t>(v); });
  return bits;
}

uint64_t DrawColumns(std::mt19937_64& random) {
  constexpr uint64_t kEdges[] = {1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 512};
  return random() % 3 == 0 ? kEdges[random() % std::size(kEdges)] : 1 + random() % 400;
}

float DrawMagnitude(std::mt19937_64& random) {
  constexpr float kMagnitudes[] = {1.0F, 1e-3F, 1e4F, 1e-30F, 1e30F};
  return kMagnitudes[random() % std::size(kMagnitudes)];
}

std::vector<float> Dots(const Kernels& kernels, WeightType type, const RandomRows& rows, uint64_t row_count,
                        const Activations& x, uint64_t out_stride) {
  std::vector<float> out(x.token_count * out_stride, -7.0F);
  kernels.dot_rows(type, rows.rows(), row_count, x, out.data(), out_stride);
  return out;
}

TEST(KernelsTest, EveryTableDotsWithTheBitsOfThePortableOne) {
  std::mt19937_64 random(1);
  for (int repeat = 0; repeat < 1500; ++repeat) {
    const WeightType type = kTypes[repeat % 4];
    const uint64_t columns = DrawColumns(random);
    const uint64_t row_count = random() % 14;
    const auto tokens = static_cast<uint32_t>(1 + random() % 9);
    const uint64_t out_stride = row_count + random() % 3;
    const RandomRows rows(type, row_count, columns, random);
    const RandomActivations x(tokens, columns, DrawMagnitude(random), random);
    const std::vector<float> expected = Dots(PortableKernels(), type, rows, row_count, x.view(), out_stride);
    for (const Kernels* table : VectorTables()) {
      EXPECT_EQ(Bits(Dots(*table, type, rows, row_count, x.view(), out_stride)), Bits(expected))
          << table->name << " " << WeightTypeName(type) << ", " << row_count << " rows of " << columns << ", " << tokens
          << " tokens";
    }
  }
}

TEST(KernelsTest, EveryTableAddsScaledRowsWithTheBitsOfThePortableOne) {
  std::mt19937_64 random(2);
  for (int repeat = 0; repeat < 1500; ++repeat) {
    const WeightType type = kTypes[repeat % 4];
    const uint64_t columns = DrawColumns(random);
    const uint64_t row_count = random() % 20;
    const uint64_t begin = random() % (columns / 64 + 1) * 64;
    const uint64_t runs = random() % ((columns - begin) / 64 + 2);
    const uint64_t end = std::min(columns, begin + runs * 64);
    const RandomRows rows(type, row_count, columns, random);
    std::vector<float> h(row_count);
    std::vector<float> start(end);  // nothing beyond `end` exists
    std::normal_distribution<float> normal(0, DrawMagnitude(random));
    for (float& value : h) value = random() % 8 == 0 ? -0.0F : normal(random);
    for (float& value : start) value = random() % 8 == 0 ? -0.0F : normal(random);
    std::vector<float> expected = start;
    PortableKernels().add_scaled_rows(type, rows.rows(), h.data(), row_count, columns, begin, end, expected.data());
    for (const Kernels* table : VectorTables()) {
      std::vector<float> y = start;
      table->add_scaled_rows(type, rows.rows(), h.data(), row_count, columns, begin, end, y.data());
      EXPECT_EQ(Bits(y), Bits(expected)) << table->name << " " << WeightTypeName(type) << ", " << row_count
                                         << " rows of " << columns << ", columns " << begin << " to " << end;
    }
  }
}

// With 16 lanes a term passes at most columns / 16 + 1 roundings and the 4 of the tree; quantised sums are exact within
// a group and round once more for the product of scales.
TEST(KernelsTest, PortableDotIsWithinItsRoundingsOfTheExactSum) {
  std::mt19937_64 random(3);
  for (int repeat = 0; repeat < 400; ++repeat) {
    const WeightType type = kTypes[repeat % 4];
    const uint64_t columns = DrawColumns(random);
    const RandomRows rows(type, 3, columns, random);
    const RandomActivations x(2, columns, 1.0F, random);
    const std::vector<float> dots = Dots(PortableKernels(), type, rows, 3, x.view(), 3);
    for (uint64_t r = 0; r < 3; ++r) {
      const std::vector<float> row = rows.Decode(r);
      for (uint32_t t = 0; t < 2; ++t) {
        double sum = 0;
        double magnitude = 0;
        for (uint64_t i = 0; i < columns; ++i) {
          const double term = row[i] * x.SeenBy(type, t, i);
          sum += term;
          magnitude += std::fabs(term);
        }
        const double roundings = static_cast<double>(columns) / 16 + 7;
        EXPECT_NEAR(dots[t * 3 + r], sum, roundings * 0x1p-24 * magnitude + 1e-40) << WeightTypeName(type) << columns;
      }
    }
  }
}

TEST(KernelsTest, AddingScaledRowsUsesTheDecodedValues) {
  std::mt19937_64 random(4);
  for (const WeightType type : kTypes) {
    const uint64_t columns = 77;
    const RandomRows rows(type, 5, columns, random);
    const std::vector<float> h = {1.5F, -2.0F, 0.1F, 3.0F, -0.7F};
    std::vector<float> y(columns, 0.25F);
    std::vector<float> expected = y;
    for (uint64_t r = 0; r < 5; ++r) {
      const std::vector<float> row = rows.Decode(r);
      for (uint64_t j = 0; j < columns; ++j) expected[j] = std::fma(h[r], row[j], expected[j]);
    }
    PortableKernels().add_scaled_rows(type, rows.rows(), h.data(), 5, columns, 0, columns, y.data());
    EXPECT_EQ(Bits(y), Bits(expected)) << WeightTypeName(type);
  }
}

// The bits of one token do not depend on those beside it, nor a row's on its neighbours.
TEST(KernelsTest, BatchesAndTilesDoNotChangeARow) {
  std::mt19937_64 random(5);
  for (const WeightType type : kTypes) {
    const RandomRows rows(type, 9, 200, random);
    const RandomActivations x(7, 200, 1.0F, random);
    const std::vector<float> whole = Dots(BestKernels(), type, rows, 9, x.view(), 9);
    for (uint32_t t = 0; t < 7; ++t) {
      Activations one = x.view();
      one.token_count = 1;
      one.values += t * one.stride;
      one.quants += t * one.stride;
      one.scales += t * one.stride / 32;
      one.group_sums += t * one.stride / 4;
      for (uint64_t r = 0; r < 9; ++r) {
        float alone = 0;
        BestKernels().dot_rows(type, rows.rows() + r, 1, one, &alone, 1);
        EXPECT_EQ(std::bit_cast<uint32_t>(alone), std::bit_cast<uint32_t>(whole[t * 9 + r])) << WeightTypeName(type);
      }
    }
  }
}

TEST(KernelsTest, AddingRowsInPartsIsAddingThemAtOnce) {
  std::mt19937_64 random(6);
  for (const WeightType type : kTypes) {
    const RandomRows rows(type, 13, 150, random);
    const std::vector<float> h(13, 0.3F);
    std::vector<float> whole(150, 1.0F);
    std::vector<float> parts = whole;
    BestKernels().add_scaled_rows(type, rows.rows(), h.data(), 13, 150, 0, 150, whole.data());
    for (uint64_t r = 0; r < 13; r += 5) {
      const uint64_t count = std::min<uint64_t>(5, 13 - r);
      BestKernels().add_scaled_rows(type, rows.rows() + r, h.data() + r, count, 150, 0, 64, parts.data());
      BestKernels().add_scaled_rows(type, rows.rows() + r, h.data() + r, count, 150, 64, 150, parts.data());
    }
    EXPECT_EQ(Bits(parts), Bits(whole)) << WeightTypeName(type);
  }
}

TEST(KernelsTest, NanInActivationsReachesTheResult) {
  std::mt19937_64 random(7);
  for (const WeightType type : kTypes) {
    const RandomRows rows(type, 1, 64, random);
    std::vector<float> values(64, 1.0F);
    values[40] = std::numeric_limits<float>::quiet_NaN();
    std::vector<int8_t> quants(64);
    std::vector<float> scales(2);
    std::vector<int32_t> group_sums(16);
    QuantizeActivations(values.data(), 1, 64, quants.data(), scales.data(), group_sums.data());
    const Activations x = {1, 64, 64, values.data(), quants.data(), scales.data(), group_sums.data()};
    std::vector<const Kernels*> tables = VectorTables();
    tables.push_back(&PortableKernels());
    for (const Kernels* table : tables) {
      EXPECT_TRUE(std::isnan(Dots(*table, type, rows, 1, x, 1)[0])) << table->name << WeightTypeName(type);
    }
  }
}

TEST(DispatchTest, NamesLeadToTheirTables) {
  EXPECT_EQ(KernelsByNameOrNull("portable"), &PortableKernels());
  EXPECT_EQ(KernelsByNameOrNull("avx2"), Avx2KernelsOrNull());
  EXPECT_EQ(KernelsByNameOrNull("avx512"), Avx512KernelsOrNull());
  EXPECT_EQ(KernelsByNameOrNull("sse9"), nullptr);
  EXPECT_EQ(KernelsByNameOrNull(BestKernels().name), &BestKernels());
}

}  // namespace
}  // namespace glint
