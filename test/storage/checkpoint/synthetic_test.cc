#include "storage/checkpoint/synthetic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <numeric>

#include "storage/checkpoint/random_weights.h"
#include "storage/flash/aligned_buffer.h"
#include "test/storage/checkpoint/checkpoint_maker.h"
#include "test/support/temp_dir.h"

namespace glint {
namespace {

using test::ReadText;
using test::TempDir;
using ::testing::HasSubstr;

SyntheticOptions SmallOptions() {
  SyntheticOptions options;
  options.name = "small";
  options.layer_count = 2;
  options.hidden_size = 160;
  options.ffn_size = 2000;
  options.head_count = 5;
  options.vocab_size = 300;
  options.context_max = 64;
  return options;
}

TEST(SyntheticTest, FileVerifiesAndIsMarkedAtEveryType) {
  TempDir folder;
  for (const WeightType type : {WeightType::kF16, WeightType::kQ8_0, WeightType::kQ4_0}) {
    SyntheticOptions options = SmallOptions();
    options.type = type;
    uint64_t done = 0;
    uint64_t total = 1;
    Result<ModelDirectory> written =
        WriteSynthetic(options, {}, folder.Path("s.glint"), [&](uint64_t now, uint64_t all) {
          done = now;
          total = all;
        });
    ASSERT_TRUE(written.ok()) << written.status().message();
    EXPECT_EQ(done, total);
    Result<VerifyReport> report = VerifyModelFile(folder.Path("s.glint"), {}, {});
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_TRUE(report->faults.empty()) << report->faults[0];
    Result<ModelFile> file = ModelFile::Open(folder.Path("s.glint"), {});
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_TRUE(file->directory().config.synthetic);
    EXPECT_EQ(file->directory().config.activity, options.activity);
    EXPECT_EQ(file->directory().config.name, "small");
    EXPECT_EQ(file->directory().type, type);
  }
}

TEST(SyntheticTest, TheSeedDecidesEveryByte) {
  TempDir folder;
  SyntheticOptions options = SmallOptions();
  ASSERT_TRUE(WriteSynthetic(options, {}, folder.Path("a.glint"), {}).ok());
  ASSERT_TRUE(WriteSynthetic(options, {}, folder.Path("b.glint"), {}).ok());
  EXPECT_TRUE(ReadText(folder.Path("a.glint")) == ReadText(folder.Path("b.glint")));
  options.seed = 2;
  ASSERT_TRUE(WriteSynthetic(options, {}, folder.Path("b.glint"), {}).ok());
  EXPECT_FALSE(ReadText(folder.Path("a.glint")) == ReadText(folder.Path("b.glint")));
}

// Up rows and biases as written, against inputs such as a layer norm makes.
TEST(SyntheticTest, StatedShareOfNeuronsIsActive) {
  TempDir folder;
  for (const WeightType type : {WeightType::kF16, WeightType::kQ4_0}) {
    for (const double activity : {0.02, 0.3}) {
      SyntheticOptions options = SmallOptions();
      options.type = type;
      options.activity = activity;
      ASSERT_TRUE(WriteSynthetic(options, {}, folder.Path("s.glint"), {}).ok());
      const std::string bytes = ReadText(folder.Path("s.glint"));
      Result<ModelFile> file = ModelFile::Open(folder.Path("s.glint"), {});
      ASSERT_TRUE(file.ok());
      const ModelDirectory& directory = file->directory();
      AlignedBuffer memory = AlignedBuffer::Allocate(ModelTables::BytesNeeded(directory)).value();
      Result<ModelTables> tables = ModelTables::Load(*file, memory.span());
      ASSERT_TRUE(tables.ok());
      const std::span<const float> bias = tables->Vector(directory, "blk.1.ffn_up.bias");
      const BundleLayout& layout = directory.ffn[1].layout;
      std::vector<float> x(options.hidden_size);
      std::vector<float> up(options.hidden_size);
      RandomWeights random(99);
      uint64_t active = 0;
      constexpr int kTokens = 20;
      for (int token = 0; token < kTokens; ++token) {
        random.Fill(x, 1.0F);
        double mean = 0;
        double square = 0;
        for (const float v : x) mean += v / static_cast<double>(x.size());
        for (const float v : x) square += (v - mean) * (v - mean) / static_cast<double>(x.size());
        for (float& v : x) v = static_cast<float>((v - mean) / std::sqrt(square));
        for (uint32_t neuron = 0; neuron < options.ffn_size; ++neuron) {
          const BundleIndex bundle = layout.BundleOf(NeuronId(neuron));
          const uint64_t offset = directory.ffn[1].extent.offset + layout.ExtentOf(bundle, BundlePart::kFirst).offset +
                                  layout.FirstRowOffset(neuron - layout.FirstNeuron(bundle).value);
          DecodeRow(type, std::as_bytes(std::span(bytes)).subspan(offset, layout.row_stride()), up);
          active += std::inner_product(up.begin(), up.end(), x.begin(), bias[neuron]) > 0 ? 1 : 0;
        }
      }
      const double share = static_cast<double>(active) / (kTokens * options.ffn_size);
      EXPECT_NEAR(share / activity, 1.0, 0.15) << WeightTypeName(type);
    }
  }
}

TEST(SyntheticTest, LawHasTheMeanAndTheHotShare) {
  for (const double activity : {0.01, 0.05, 0.3}) {
    const std::vector<double> law = ActivityLaw(10000, activity, 0.8, 0.26);
    const double sum = std::accumulate(law.begin(), law.end(), 0.0);
    EXPECT_NEAR(sum / 10000, activity, 1e-6);
    EXPECT_TRUE(std::is_sorted(law.rbegin(), law.rend()));
    EXPECT_LE(law[0], 0.95);
    EXPECT_GT(law.back(), 0.0);
    EXPECT_NEAR(std::accumulate(law.begin(), law.begin() + 2600, 0.0) / sum, 0.8, 1e-3);
  }
}

TEST(SyntheticTest, WeightsHaveTheDeviationAskedFor) {
  RandomWeights weights(5);
  std::vector<float> values(1 << 20);
  weights.Fill(values, 0.25F);
  double mean = 0;
  double square = 0;
  double fourth = 0;
  for (const float v : values) {
    mean += v;
    square += double{v} * v;
    fourth += double{v} * v * v * v;
  }
  const auto count = static_cast<double>(values.size());
  EXPECT_NEAR(mean / count, 0.0, 0.001);
  EXPECT_NEAR(std::sqrt(square / count), 0.25, 0.001);
  EXPECT_NEAR(fourth * count / (square * square), 4.0, 0.1);  // its kurtosis
}

TEST(SyntheticTest, QuantileInvertsTheDistribution) {
  for (const double p : {1e-6, 0.01, 0.02425, 0.3, 0.5, 0.9, 0.99, 0.999999}) {
    const double z = NormalQuantile(p);
    EXPECT_NEAR(0.5 * std::erfc(-z / std::sqrt(2.0)) / p, 1.0, 1e-7) << p;
  }
}

TEST(SyntheticTest, WhatCannotBeIsRefusedByName) {
  TempDir folder;
  const auto refusal = [&folder](auto change) {
    SyntheticOptions options = SmallOptions();
    change(options);
    const Status status = WriteSynthetic(options, {}, folder.Path("s.glint"), {}).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    return status.message();
  };
  EXPECT_THAT(refusal([](SyntheticOptions& o) { o.activity = 0; }), HasSubstr("activity"));
  EXPECT_THAT(refusal([](SyntheticOptions& o) { o.activity = NAN; }), HasSubstr("activity"));
  EXPECT_THAT(refusal([](SyntheticOptions& o) { o.hot_share = 1; }), HasSubstr("hot_share"));
  EXPECT_THAT(refusal([](SyntheticOptions& o) { o.hot_share = 0.1; }), HasSubstr("hot_share"));
  EXPECT_THAT(refusal([](SyntheticOptions& o) { o.hot_fraction = 2; }), HasSubstr("hot_fraction"));
  EXPECT_THAT(refusal([](SyntheticOptions& o) { o.vocab_size = 2; }), HasSubstr("vocab_size"));
  EXPECT_THAT(refusal([](SyntheticOptions& o) { o.head_count = 7; }), HasSubstr("head_count"));
  EXPECT_THAT(refusal([](SyntheticOptions& o) { o.layer_count = 0; }), HasSubstr("layer_count"));
}

}  // namespace
}  // namespace glint
