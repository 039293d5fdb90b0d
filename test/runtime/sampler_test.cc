#include "runtime/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

namespace glint {
namespace {

using testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Everything off but the temperature.
SamplerOptions Plain(float temperature) {
  return {.temperature = temperature, .top_k = 0, .top_p = 1.0F, .min_p = 0.0F, .repeat_penalty = 1.0F, .seed = 1};
}

SamplerOptions Greedy(float repeat_penalty = 1.0F, uint32_t repeat_last = 64) {
  SamplerOptions options = Plain(0.0F);
  options.repeat_penalty = repeat_penalty;
  options.repeat_last = repeat_last;
  return options;
}

TokenId SampleOnce(const SamplerOptions& options, const std::vector<float>& logits,
                   const std::vector<TokenId>& history = {}) {
  Sampler sampler(options, static_cast<uint32_t>(logits.size()));
  return sampler.Sample(logits, history).value();
}

std::map<TokenId, int> CountDraws(const SamplerOptions& options, const std::vector<float>& logits, int draws,
                                  const std::vector<TokenId>& history = {}) {
  Sampler sampler(options, static_cast<uint32_t>(logits.size()));
  std::map<TokenId, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[sampler.Sample(logits, history).value()];
  return counts;
}

std::vector<double> Softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> probabilities;
  double sum = 0;
  for (const float logit : logits) sum += probabilities.emplace_back(std::exp(logit / temperature));
  for (double& probability : probabilities) probability /= sum;
  return probabilities;
}

// Expects the draws' chi-square within about five standard deviations of its mean; ids of probability 0 never drawn.
void ExpectDistribution(const std::map<TokenId, int>& counts, const std::vector<double>& probabilities, int draws) {
  double chi_square = 0;
  double freedom = -1;
  for (size_t id = 0; id < probabilities.size(); ++id) {
    const auto found = counts.find(static_cast<TokenId>(id));
    const double count = found == counts.end() ? 0 : found->second;
    if (probabilities[id] == 0) {
      EXPECT_EQ(count, 0) << id;
      continue;
    }
    const double expected = probabilities[id] * draws;
    chi_square += (count - expected) * (count - expected) / expected;
    freedom += 1;
  }
  EXPECT_LT(chi_square, freedom + 5 * std::sqrt(2 * freedom));
}

const std::vector<float> kLogits = {1.0F, -0.5F, 2.0F, 0.25F, -1.0F, 1.5F, 0.0F, 0.75F};

TEST(SamplerTest, GreedyTakesTheGreatestLogitAndOfEqualOnesTheLowestId) {
  EXPECT_EQ(SampleOnce(Greedy(), {0.0F, 3.0F, 1.0F, 3.0F}), 1);
  EXPECT_EQ(SampleOnce(Greedy(), {-0.0F, 0.0F}), 0);
  EXPECT_EQ(SampleOnce(Greedy(), {-kInfinity, -1e30F}), 1);
}

TEST(SamplerTest, DrawsFollowTheSoftmaxAtTheTemperature) {
  constexpr int kDraws = 100'000;
  for (const float temperature : {0.5F, 1.0F, 3.0F}) {
    ExpectDistribution(CountDraws(Plain(temperature), kLogits, kDraws), Softmax(kLogits, temperature), kDraws);
  }
}

// The bound must tell temperatures apart, else the test above proves nothing.
TEST(SamplerTest, TheDistributionTestTellsTemperaturesApart) {
  constexpr int kDraws = 100'000;
  const std::map<TokenId, int> counts = CountDraws(Plain(1.0F), kLogits, kDraws);
  const std::vector<double> other = Softmax(kLogits, 1.1);
  double chi_square = 0;
  for (size_t id = 0; id < other.size(); ++id) {
    const double expected = other[id] * kDraws;
    chi_square += std::pow(counts.at(static_cast<TokenId>(id)) - expected, 2) / expected;
  }
  EXPECT_GT(chi_square, 10 * (7 + 5 * std::sqrt(14.0)));
}

TEST(SamplerTest, TopKKeepsTheKBestWithTheirShares) {
  constexpr int kDraws = 50'000;
  SamplerOptions options = Plain(1.0F);
  options.top_k = 3;  // ids 2, 5, 0
  std::vector<float> kept(kLogits.size(), -kInfinity);
  for (const size_t id : {2, 5, 0}) kept[id] = kLogits[id];
  ExpectDistribution(CountDraws(options, kLogits, kDraws), Softmax(kept, 1.0), kDraws);
}

TEST(SamplerTest, TopKOfEqualLogitsKeepsTheLowestIds) {
  SamplerOptions options = Plain(1.0F);
  options.top_k = 3;
  const std::map<TokenId, int> counts = CountDraws(options, {0.0F, 1.0F, 1.0F, 0.0F, 1.0F, 1.0F}, 1000);
  EXPECT_EQ(counts.size(), 3u);
  for (const TokenId id : {1, 2, 4}) EXPECT_TRUE(counts.contains(id)) << id;
}

TEST(SamplerTest, TopPKeepsTheSmallestPrefixThatReachesP) {
  // Probabilities 1/2, 1/4, 1/8, 1/8 (of ids 3, 1, 0, 2): exact in binary.
  const std::vector<float> logits = {0.0F, std::log(2.0F), 0.0F, std::log(4.0F)};
  const std::vector<std::pair<float, std::vector<TokenId>>> cases = {
      {0.0F, {3}}, {0.49F, {3}}, {0.6F, {3, 1}}, {0.74F, {3, 1}}, {0.8F, {3, 1, 0}}, {0.99F, {3, 1, 0, 2}}};
  for (const auto& [top_p, ids] : cases) {
    SamplerOptions options = Plain(1.0F);
    options.top_p = top_p;
    const std::map<TokenId, int> counts = CountDraws(options, logits, 2000);
    EXPECT_EQ(counts.size(), ids.size()) << top_p;
    for (const TokenId id : ids) EXPECT_TRUE(counts.contains(id)) << top_p << ", " << id;
  }
}

TEST(SamplerTest, TopPCountsOnlyWhatTopKLeft) {
  SamplerOptions options = Plain(1.0F);
  options.top_k = 2;
  options.top_p = 0.6F;  // of all, 0.5 + 0.25 are needed; of the best two, 2/3 is the first alone
  EXPECT_EQ(CountDraws(options, {std::log(2.0F), 0.0F, 0.0F}, 500).size(), 1u);
  options.top_k = 0;
  EXPECT_EQ(CountDraws(options, {std::log(2.0F), 0.0F, 0.0F}, 500).size(), 2u);
}

TEST(SamplerTest, FiltersDoNotDependOnTheTemperature) {
  SamplerOptions options = Plain(100.0F);  // nearly uniform when drawn
  options.min_p = 0.3F;
  const std::map<TokenId, int> counts =
      CountDraws(options, {0.0F, 1.0F, -1.0F, 0.5F}, 2000);  // e^-1 = 0.37, e^-2 = 0.14
  EXPECT_EQ(counts.size(), 3u);
  EXPECT_FALSE(counts.contains(2));
}

TEST(SamplerTest, MinPOfOneKeepsOnlyTheBest) {
  SamplerOptions options = Plain(1.0F);
  options.min_p = 1.0F;
  EXPECT_EQ(CountDraws(options, kLogits, 500).size(), 1u);
}

TEST(SamplerTest, PenaltyDividesPositiveAndMultipliesNegativeLogits) {
  EXPECT_EQ(SampleOnce(Greedy(2.0F), {3.0F, 2.0F}, {0}), 1);
  EXPECT_EQ(SampleOnce(Greedy(2.0F), {3.0F, 1.4F}, {0}), 0);
  EXPECT_EQ(SampleOnce(Greedy(2.0F), {-1.0F, -1.5F}, {0}), 1);
  EXPECT_EQ(SampleOnce(Greedy(2.0F), {-1.0F, -2.5F}, {0}), 0);
}

TEST(SamplerTest, PenaltyCountsATokenOnce) { EXPECT_EQ(SampleOnce(Greedy(2.0F), {3.0F, 1.4F}, {0, 0, 0, 0}), 0); }

TEST(SamplerTest, PenaltyLooksAtTheLastTokensOnly) {
  EXPECT_EQ(SampleOnce(Greedy(2.0F, 2), {3.0F, 2.0F, 0.0F}, {0, 2, 2}), 0);
  EXPECT_EQ(SampleOnce(Greedy(2.0F, 3), {3.0F, 2.0F, 0.0F}, {0, 2, 2}), 1);
  EXPECT_EQ(SampleOnce(Greedy(2.0F, 0), {3.0F, 2.0F, 0.0F}, {0, 0, 0}), 0);
}

TEST(SamplerTest, PenaltyIgnoresIdsThatAreNotSampled) {
  EXPECT_EQ(SampleOnce(Greedy(2.0F), {3.0F, 2.0F}, {-1, 2, 1'000'000}), 0);
}

TEST(SamplerTest, PenaltyNeverMakesAnInfinity) {
  constexpr float kMax = std::numeric_limits<float>::max();
  SamplerOptions options = Plain(1.0F);
  options.repeat_penalty = 0.25F;
  EXPECT_EQ(SampleOnce(options, {kMax, kMax / 2}, {1}), 1);
  options.repeat_penalty = 4.0F;
  EXPECT_EQ(SampleOnce(options, {-kMax, -kMax / 8}, {0, 1}), 1);
}

TEST(SamplerTest, IdsBeyondTheSampledVocabularyAreNeverReturnedNorRead) {
  const std::vector<float> logits = {0.0F, 0.5F, std::nanf(""), kInfinity};
  for (const float temperature : {0.0F, 1.0F, 50.0F}) {
    Sampler sampler(Plain(temperature), 2);
    for (int i = 0; i < 1000; ++i) EXPECT_LT(sampler.Sample(logits, {}).value(), 2);
  }
}

TEST(SamplerTest, NanAndInfinityAreRefusedByToken) {
  for (const float temperature : {0.0F, 1.0F}) {
    Sampler sampler(Plain(temperature), 3);
    for (const float bad : {std::nanf(""), kInfinity}) {
      const std::vector<float> logits = {0.0F, 1.0F, bad};
      const Status status = sampler.Sample(logits, {}).status();
      EXPECT_EQ(status.code(), StatusCode::kCorruptData);
      EXPECT_THAT(status.message(), HasSubstr("token 2"));
    }
    const std::vector<float> nothing(3, -kInfinity);
    EXPECT_EQ(sampler.Sample(nothing, {}).status().code(), StatusCode::kCorruptData);
  }
}

TEST(SamplerTest, ImpossibleTokensAreNeverDrawn) {
  const std::map<TokenId, int> counts = CountDraws(Plain(1.0F), {-kInfinity, 0.0F, -kInfinity, 0.0F, -kInfinity}, 1000);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_TRUE(counts.contains(1) && counts.contains(3));
}

TEST(SamplerTest, TheLeastTemperatureIsGreedy) {
  EXPECT_EQ(CountDraws(Plain(std::numeric_limits<float>::denorm_min()), kLogits, 200).size(), 1u);
}

TEST(SamplerTest, ASeedGivesItsTokensAgainAndAnotherGivesOthers) {
  std::mt19937 random(3);
  std::vector<float> logits(500);
  SamplerOptions options;
  options.temperature = 1.5F;
  std::vector<TokenId> first;
  std::vector<TokenId> again;
  std::vector<TokenId> other;
  Sampler a(options, 500);
  Sampler b(options, 500);
  options.seed = 1;
  Sampler c(options, 500);
  for (int i = 0; i < 100; ++i) {
    for (float& logit : logits) logit = static_cast<float>(random() % 1000) / 200.0F;
    first.push_back(a.Sample(logits, first).value());
    again.push_back(b.Sample(logits, again).value());
    other.push_back(c.Sample(logits, other).value());
  }
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
}

// The generator is part of what a seed means: SplitMix64's first output for seed 0 is 0xE220A8397B1DCDAF.
TEST(SamplerTest, TheGeneratorIsSplitMix64) {
  SamplerOptions options = Plain(1.0F);
  options.seed = 0;
  const std::vector<float> uniform(1 << 16, 0.0F);
  EXPECT_EQ(SampleOnce(options, uniform), 0xE220);
}

TEST(SamplerTest, OptionsThatMakeNoSenseAreRefusedByName) {
  EXPECT_TRUE(ValidateSamplerOptions({}).ok());
  const float nan = std::nanf("");
  const auto expect_refused = [](const char* name, const SamplerOptions& options) {
    const Status status = ValidateSamplerOptions(options);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(status.message(), HasSubstr(name));
  };
  for (const float bad : {nan, -0.1F, kInfinity}) {
    SamplerOptions options;
    options.temperature = bad;
    expect_refused("temperature", options);
    options = {};
    options.top_p = bad;
    expect_refused("top_p", options);
    options = {};
    options.min_p = bad;
    expect_refused("min_p", options);
    options = {};
    options.repeat_penalty = bad;
    expect_refused("repeat_penalty", options);
  }
  SamplerOptions zero;
  zero.repeat_penalty = 0.0F;
  expect_refused("repeat_penalty", zero);
}

}  // namespace
}  // namespace glint
