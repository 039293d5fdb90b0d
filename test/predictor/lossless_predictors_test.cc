#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "predictor/predictor.h"

namespace glint {
namespace {

std::vector<uint32_t> Members(const ActiveSet& active) {
  std::vector<uint32_t> members;
  active.ForEach([&](NeuronId neuron) { members.push_back(neuron.value); });
  return members;
}

TEST(ExactPredictorTest, NamesTheUnionOfTheTokensNonZeroNeurons) {
  const std::vector<float> h = {0, 1, 0, 0, -0.0F, 3, /**/ 0, 0, 0, 2, 0, 4};
  ActiveSet active(6);
  MakeExactPredictor()->Predict({.token_count = 2, .first_activations = h, .stride = 6, .neuron_count = 6}, &active);
  EXPECT_THAT(Members(active), testing::ElementsAre(1, 3, 5));
  EXPECT_EQ(active.Count(), 3U);
}

TEST(ExactPredictorTest, LooksOnlyAtTheNeuronsItIsAskedAbout) {
  const std::vector<float> h = {1, 1, 1, 1};
  ActiveSet active(4);
  MakeExactPredictor()->Predict(
      {.token_count = 1, .first_activations = h, .stride = 4, .first_neuron = 1, .neuron_count = 2}, &active);
  EXPECT_THAT(Members(active), testing::ElementsAre(1, 2));
}

TEST(AllActivePredictorTest, NamesEveryNeuronWithoutActivations) {
  ActiveSet active(70);
  const auto predictor = MakeAllActivePredictor();
  EXPECT_FALSE(predictor->needs_first_activations());
  predictor->Predict({.token_count = 1, .neuron_count = 70}, &active);
  EXPECT_EQ(active.Count(), 70U);
  EXPECT_TRUE(active.Contains(NeuronId(69)));
}

}  // namespace
}  // namespace glint
