#include "storage/format/quant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "glint/base/float16.h"

namespace glint {
namespace {

using ::testing::HasSubstr;

constexpr WeightType kTypes[] = {WeightType::kF32, WeightType::kF16, WeightType::kQ8_0, WeightType::kQ4_0};

std::vector<std::byte> Encode(WeightType type, const std::vector<float>& values) {
  std::vector<std::byte> row(RowStride(type, values.size()), std::byte{0xA5});
  const Status status = EncodeRow(type, values, row);
  EXPECT_TRUE(status.ok()) << status.message();
  return row;
}

std::vector<float> Decode(WeightType type, const std::vector<std::byte>& row, size_t columns) {
  std::vector<float> values(columns);
  DecodeRow(type, row, values);
  return values;
}

std::vector<float> RandomRow(size_t columns, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 0.02F);
  std::vector<float> values(columns);
  for (float& value : values) value = normal(random);
  return values;
}

// Records of quant_reference.bin: 32 floats, then GGML's q8_0 and q4_0 blocks (make_quant_reference.py).
struct Reference {
  float values[32];
  std::byte q8[34];
  std::byte q4[18];
};
static_assert(sizeof(Reference) == 128 + 34 + 18);

std::vector<Reference> ReadReference() {
  std::ifstream file(std::string(GLINT_TEST_DATA) + "/storage/format/quant_reference.bin", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  std::vector<Reference> records(bytes.size() / sizeof(Reference));
  std::memcpy(records.data(), bytes.data(), records.size() * sizeof(Reference));
  return records;
}

TEST(QuantTest, BlocksEqualGgmlBitForBit) {
  const std::vector<Reference> records = ReadReference();
  ASSERT_GE(records.size(), 60U);
  // One long row, so that the places of integers and scales are checked as well.
  std::vector<float> values;
  for (const Reference& record : records) values.insert(values.end(), record.values, record.values + 32);
  const std::vector<std::byte> q8 = Encode(WeightType::kQ8_0, values);
  const std::vector<std::byte> q4 = Encode(WeightType::kQ4_0, values);
  const uint64_t scales8 = ScalesOffset(WeightType::kQ8_0, values.size());
  const uint64_t scales4 = ScalesOffset(WeightType::kQ4_0, values.size());
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(std::memcmp(&q8[scales8 + 2 * i], records[i].q8, 2), 0) << "q8_0 scale of block " << i;
    EXPECT_EQ(std::memcmp(&q8[32 * i], records[i].q8 + 2, 32), 0) << "q8_0 block " << i;
    EXPECT_EQ(std::memcmp(&q4[scales4 + 2 * i], records[i].q4, 2), 0) << "q4_0 scale of block " << i;
    EXPECT_EQ(std::memcmp(&q4[16 * i], records[i].q4 + 2, 16), 0) << "q4_0 block " << i;
  }
}

TEST(QuantTest, RowsDecodeToWhatTheirTypeHolds) {
  for (const size_t columns : {1, 16, 31, 32, 33, 64, 100, 256}) {
    const std::vector<float> values = RandomRow(columns, 7);
    EXPECT_EQ(Decode(WeightType::kF32, Encode(WeightType::kF32, values), columns), values);
    const std::vector<float> f16 = Decode(WeightType::kF16, Encode(WeightType::kF16, values), columns);
    const std::vector<float> q8 = Decode(WeightType::kQ8_0, Encode(WeightType::kQ8_0, values), columns);
    const std::vector<float> q4 = Decode(WeightType::kQ4_0, Encode(WeightType::kQ4_0, values), columns);
    const float largest = std::fabs(
        *std::max_element(values.begin(), values.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); }));
    for (size_t i = 0; i < columns; ++i) {
      EXPECT_EQ(f16[i], HalfToFloat(FloatToHalf(values[i])));
      EXPECT_NEAR(q8[i], values[i], largest / 127 * 0.57F) << columns << " " << i;
      EXPECT_NEAR(q4[i], values[i], largest / 8 * 1.01F) << columns << " " << i;
    }
  }
}

TEST(QuantTest, PaddingIsZero) {
  for (const WeightType type : kTypes) {
    for (const size_t columns : {1, 17, 40, 70}) {
      std::vector<float> values = RandomRow(columns, 3);
      const std::vector<std::byte> row = Encode(type, values);
      // The padding's elements are zero ...
      const std::vector<float> padded = Decode(type, row, PaddedColumns(type, columns));
      for (size_t i = columns; i < padded.size(); ++i) EXPECT_EQ(padded[i], 0.0F) << WeightTypeName(type) << " " << i;
      // ... and so is everything up to the stride.
      for (size_t i = RowBytes(type, columns); i < row.size(); ++i) EXPECT_EQ(row[i], std::byte{0});
      // The same row with its padding written out has the same bytes.
      values.resize(AlignUp(columns, kQuantBlock));
      if (IsQuantized(type)) {
        EXPECT_EQ(Encode(type, values), row) << WeightTypeName(type) << " " << columns;
      }
    }
  }
}

TEST(QuantTest, NanAndInfinityAreRefusedByIndex) {
  for (const WeightType type : kTypes) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      std::vector<float> values = RandomRow(70, 1);
      values[67] = bad;
      std::vector<std::byte> row(RowStride(type, values.size()));
      const Status status = EncodeRow(type, values, row);
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
      EXPECT_THAT(status.message(), HasSubstr("element 67"));
    }
  }
}

TEST(QuantTest, ValuesBeyondTheTypeAreRefusedAndTheLargestIsKept) {
  const struct {
    WeightType type;
    float least_refused;
    float largest_kept;
  } cases[] = {{WeightType::kF16, 65520.0F, 65504.0F},
               {WeightType::kQ8_0, 65520.0F * 127, 65504.0F * 127},
               {WeightType::kQ4_0, 65520.0F * 8, 65504.0F * 8}};
  for (const auto& c : cases) {
    for (const float sign : {1.0F, -1.0F}) {
      std::vector<float> values = {0.0F, sign * c.least_refused};
      std::vector<std::byte> row(RowStride(c.type, values.size()));
      const Status status = EncodeRow(c.type, values, row);
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << WeightTypeName(c.type);
      EXPECT_THAT(status.message(), HasSubstr("element 1"));
      EXPECT_THAT(status.message(), HasSubstr(WeightTypeName(c.type)));
      values[1] = std::nextafter(values[1], 0.0F);
      for (const float value : Decode(c.type, Encode(c.type, values), 2)) EXPECT_TRUE(std::isfinite(value));
      values[1] = sign * c.largest_kept;
      EXPECT_EQ(Decode(c.type, Encode(c.type, values), 2)[1], values[1]) << WeightTypeName(c.type);
    }
  }
}

TEST(QuantTest, TinyBlocksDecodeToZeros) {
  for (const WeightType type : {WeightType::kQ8_0, WeightType::kQ4_0}) {
    const std::vector<float> values(32, 1e-44F);  // the inverse of the scale is no finite number
    for (const float value : Decode(type, Encode(type, values), 32)) EXPECT_EQ(value, 0.0F);
  }
}

TEST(QuantTest, NamesRoundTrip) {
  for (const WeightType type : kTypes) EXPECT_EQ(WeightTypeFromName(WeightTypeName(type)), type);
  EXPECT_EQ(WeightTypeFromName("q5_0"), std::nullopt);
  EXPECT_EQ(WeightTypeFromName(""), std::nullopt);
}

}  // namespace
}  // namespace glint
