#include "storage/format/bundle_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "storage/format/model_config.h"

namespace glint {
namespace {

BundleLayout RandomLayout(std::mt19937* random) {
  const auto below = [&](uint32_t bound) { return std::uniform_int_distribution<uint32_t>(0, bound - 1)(*random); };
  const auto type = static_cast<WeightType>(below(4));
  const bool gated = below(2) == 1;
  const uint32_t hidden_size = 1 + (below(3) == 0 ? below(kHiddenSizeMax) : below(600));
  const uint32_t neuron_count = 1 + below(below(2) == 0 ? 10 : 3000);
  if (below(2) == 0) return BundleLayout::Choose(neuron_count, hidden_size, type, gated);
  uint32_t neurons_per_bundle = 1 + below(neuron_count);
  while (!BundleLayout::IsPossible(neuron_count, hidden_size, type, gated, neurons_per_bundle)) neurons_per_bundle /= 2;
  return {neuron_count, hidden_size, type, gated, neurons_per_bundle};
}

double Waste(const BundleLayout& layout) {
  const uint64_t rows = layout.gated() ? 3 : 2;
  const auto whole = static_cast<double>(layout.PartBytes(BundlePart::kWhole));
  return 1 - static_cast<double>(layout.neurons_per_bundle() * rows * layout.row_stride()) / whole;
}

TEST(BundleLayoutTest, TalesOptHasFourNeuronsInOneBlock) {
  const BundleLayout layout = BundleLayout::Choose(1024, 256, WeightType::kF16, /*gated=*/false);
  EXPECT_EQ(layout.neurons_per_bundle(), 4U);
  EXPECT_EQ(layout.PartBytes(BundlePart::kWhole), 4096U);
  EXPECT_EQ(layout.PartBytes(BundlePart::kFirst), 2048U);
  EXPECT_EQ(layout.bundle_count(), 256U);
  EXPECT_EQ(layout.extent_bytes(), 1024U * 1024U);
}

TEST(BundleLayoutTest, ChoiceIsTheFirstThatWastesUnderThreePercentElseTheLeast) {
  for (const WeightType type : {WeightType::kF32, WeightType::kF16, WeightType::kQ8_0, WeightType::kQ4_0}) {
    for (uint32_t hidden_size = 1; hidden_size <= kHiddenSizeMax; hidden_size += 1 + hidden_size / 5) {
      const bool gated = hidden_size % 2 == 0;
      const uint32_t neuron_count = 5000;
      const BundleLayout chosen = BundleLayout::Choose(neuron_count, hidden_size, type, gated);
      double least = 1;
      for (uint32_t n = 1; BundleLayout::IsPossible(neuron_count, hidden_size, type, gated, n); ++n) {
        const double waste = Waste({neuron_count, hidden_size, type, gated, n});
        if (n < chosen.neurons_per_bundle()) {
          ASSERT_GE(waste, 0.03) << hidden_size << " " << n;
        }
        least = std::min(least, waste);
      }
      if (Waste(chosen) >= 0.03) {
        ASSERT_EQ(Waste(chosen), least) << hidden_size;
      }
    }
  }
}

TEST(BundleLayoutTest, GranulesFollowEachOtherAndMakeUpTheExtent) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const BundleLayout layout = RandomLayout(&random);
    uint64_t end = 0;
    uint32_t neurons = 0;
    for (BundleIndex b{0}; b.value < layout.bundle_count(); ++b.value) {
      const Extent whole = layout.ExtentOf(b, BundlePart::kWhole);
      const Extent first = layout.ExtentOf(b, BundlePart::kFirst);
      const Extent rest = layout.ExtentOf(b, BundlePart::kRest);
      ASSERT_EQ(whole.offset, end);
      ASSERT_EQ(whole.offset % kBundleAlignment, 0U);
      ASSERT_EQ(first.offset, whole.offset);
      ASSERT_EQ(rest.offset, first.end());
      ASSERT_EQ(rest.offset % kGranuleAlignment, 0U);
      ASSERT_EQ(rest.end(), whole.end());
      ASSERT_GT(first.bytes, 0U);
      ASSERT_LE(std::max(first.bytes, rest.bytes), kGranuleBytesMax);
      ASSERT_LE(first.bytes, layout.PartBytes(BundlePart::kFirst));
      ASSERT_LE(whole.bytes, layout.PartBytes(BundlePart::kWhole));
      ASSERT_EQ(layout.FirstNeuron(b).value, neurons);
      neurons += layout.NeuronsIn(b);
      end = whole.end();
    }
    ASSERT_EQ(end, layout.extent_bytes());
    ASSERT_EQ(neurons, layout.neuron_count());
    ASSERT_EQ(layout.PartBytes(BundlePart::kFirst) + layout.PartBytes(BundlePart::kRest),
              layout.PartBytes(BundlePart::kWhole));
  }
}

TEST(BundleLayoutTest, RowsOfABundleAreApartAndInsideTheirGranule) {
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) {
    const BundleLayout layout = RandomLayout(&random);
    for (const uint32_t index : {0U, layout.bundle_count() - 1}) {
      const BundleIndex bundle(index);
      std::vector<uint64_t> first;
      std::vector<uint64_t> rest;
      for (uint32_t lane = 0; lane < layout.NeuronsIn(bundle); ++lane) {
        first.push_back(layout.FirstRowOffset(lane));
        if (layout.gated()) rest.push_back(layout.UpRowOffsetInRest(lane));
        rest.push_back(layout.DownRowOffsetInRest(bundle, lane));
      }
      const auto check = [&](std::vector<uint64_t> offsets, uint64_t granule_bytes) {
        std::sort(offsets.begin(), offsets.end());
        for (size_t r = 0; r < offsets.size(); ++r) {
          const uint64_t next = r + 1 < offsets.size() ? offsets[r + 1] : granule_bytes;
          ASSERT_EQ(offsets[r] % kRowAlignment, 0U);
          ASSERT_LE(offsets[r] + layout.row_stride(), next);
        }
      };
      check(first, layout.ExtentOf(bundle, BundlePart::kFirst).bytes);
      check(rest, layout.ExtentOf(bundle, BundlePart::kRest).bytes);
    }
  }
}

TEST(BundleLayoutTest, OnlyTheLastBundleIsShort) {
  const BundleLayout layout(10, 256, WeightType::kF16, /*gated=*/true, 4);
  EXPECT_EQ(layout.bundle_count(), 3U);
  EXPECT_EQ(layout.NeuronsIn(BundleIndex(1)), 4U);
  EXPECT_EQ(layout.NeuronsIn(BundleIndex(2)), 2U);
  EXPECT_EQ(layout.ExtentOf(BundleIndex(1), BundlePart::kFirst).bytes, 4 * 512U);
  EXPECT_EQ(layout.ExtentOf(BundleIndex(2), BundlePart::kFirst).bytes, 2 * 512U);
  EXPECT_EQ(layout.DownRowOffsetInRest(BundleIndex(1), 0), 4 * 512U);
  EXPECT_EQ(layout.DownRowOffsetInRest(BundleIndex(2), 0), 2 * 512U);
  EXPECT_EQ(layout.BundleOf(NeuronId(7)), BundleIndex(1));
  EXPECT_EQ(layout.BundleOf(NeuronId(8)), BundleIndex(2));
}

TEST(BundleLayoutTest, ImpossibleArgumentsAreRefused) {
  EXPECT_FALSE(BundleLayout::IsPossible(8, 0, WeightType::kF16, false, 1));
  EXPECT_FALSE(BundleLayout::IsPossible(8, 64, WeightType::kF16, false, 0));
  EXPECT_FALSE(BundleLayout::IsPossible(8, 64, WeightType::kF16, false, 9));
  EXPECT_FALSE(BundleLayout::IsPossible(0, 64, WeightType::kF16, false, 1));
  EXPECT_FALSE(BundleLayout::IsPossible(1U << 20, 32768, WeightType::kF32, false, 3));
  EXPECT_FALSE(BundleLayout::IsPossible(UINT32_MAX, UINT32_MAX, WeightType::kF32, true, UINT32_MAX));
}

// Padding counts too: with kHiddenSizeMax at 32768 some sizes below it would not fit.
TEST(BundleLayoutTest, OneNeuronFitsForEverySizeThatAConfigMayHave) {
  for (const WeightType type : {WeightType::kF32, WeightType::kF16, WeightType::kQ8_0, WeightType::kQ4_0}) {
    for (uint32_t hidden_size = 1; hidden_size <= kHiddenSizeMax; ++hidden_size) {
      ASSERT_TRUE(BundleLayout::IsPossible(1, hidden_size, type, /*gated=*/true, 1)) << hidden_size;
    }
  }
}

}  // namespace
}  // namespace glint
