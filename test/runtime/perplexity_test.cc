// Perplexity of the included model on its validation text, against eval_valid.json.
#include "runtime/perplexity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <vector>

#include "test/runtime/packed_model.h"
#include "test/support/temp_dir.h"

namespace glint {
namespace {

struct Case {
  WeightType type;
  double error;  // largest relative error of the perplexity
};

void PrintTo(const Case& c, std::ostream* out) { *out << WeightTypeName(c.type); }

constexpr Case kCases[] = {{WeightType::kF16, 0.001}, {WeightType::kQ8_0, 0.01}, {WeightType::kQ4_0, 0.05}};

class EvaluatedModel : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const std::string path = folder_.Path("tales.glint");
    const auto packed = test::PackCheckpoint(test::CheckpointFolder("tales-opt"), path, GetParam().type);
    ASSERT_TRUE(packed.ok()) << packed.status().message();
    model_ = Model::Open(path, {.budget_bytes = 64 << 20, .context_max = 256, .threads = 2, .measure_activity = true})
                 .value();
  }

  double Measure(uint64_t windows_max, uint64_t windows) {
    const std::string text = test::ReadWhole(test::CheckpointFolder("tales-opt/text") + "/valid.txt");
    std::vector<TokenId> tokens;
    EXPECT_TRUE(model_->tokenizer_or_null()->Encode(text, /*parse_special=*/false, &tokens).ok());
    EXPECT_EQ(tokens.size(), reference_.at("tokens_in_file"));
    PerplexityMeter meter = PerplexityMeter::Open(model_.get(), {.windows_max = windows_max}).value();
    // In parts that are no windows.
    for (std::span<const TokenId> left = tokens; !left.empty();) {
      const auto part = left.first(std::min<size_t>(left.size(), 1000));
      const Status added = meter.Add(part);
      EXPECT_TRUE(added.ok()) << added.message();
      left = left.subspan(part.size());
    }
    EXPECT_EQ(meter.done(), windows_max != 0);
    const Result<Perplexity> measured = meter.Measured();
    EXPECT_TRUE(measured.ok()) << measured.status().message();
    EXPECT_EQ(measured->windows, windows);
    EXPECT_EQ(measured->tokens, windows * 256);
    return measured->Value();
  }

  // The share of neurons of `layer` that were active while measuring.
  double ActiveFraction(size_t layer) const {
    const LayerActivity activity = model_->Activity()[layer];
    return static_cast<double>(activity.active) / static_cast<double>(activity.tokens) / model_->config().ffn_size;
  }

  void ExpectActiveFractions(double relative, double absolute) {
    const std::vector<double> fractions = reference_.at("active_fraction_per_layer");
    ASSERT_EQ(model_->Activity().size(), fractions.size());
    for (size_t i = 0; i < fractions.size(); ++i) {
      EXPECT_NEAR(ActiveFraction(i), fractions[i], relative * fractions[i] + absolute) << "layer " << i;
    }
  }

  const nlohmann::json reference_ = test::ReadJson(test::CheckpointFolder("tales-opt/goldens") + "/eval_valid.json");
  test::TempDir folder_;
  std::unique_ptr<Model> model_;
};

class PerplexityTest : public EvaluatedModel {};
class PerplexitySlowTest : public EvaluatedModel {};

std::string CaseName(const ::testing::TestParamInfo<Case>& info) {
  return std::string(WeightTypeName(info.param.type));
}

INSTANTIATE_TEST_SUITE_P(Types, PerplexityTest, ::testing::ValuesIn(kCases), CaseName);
INSTANTIATE_TEST_SUITE_P(Types, PerplexitySlowTest, ::testing::ValuesIn(kCases), CaseName);

TEST_P(PerplexityTest, TheFirst64WindowsAgreeWithTheReference) {
  const double wanted = reference_.at("first_64_windows").at("perplexity");
  EXPECT_NEAR(Measure(64, 64), wanted, GetParam().error * wanted);
  // The reference's shares are those of the whole text.
  ExpectActiveFractions(/*relative=*/0.07, /*absolute=*/0.001);
}

TEST_P(PerplexitySlowTest, TheWholeTextAgreesWithTheReference) {
  const double wanted = reference_.at("perplexity");
  EXPECT_NEAR(Measure(0, reference_.at("windows")), wanted, GetParam().error * wanted);
  ExpectActiveFractions(/*relative=*/GetParam().error, /*absolute=*/0.0005);
}

TEST(NegativeLogLikelihoodTest, IsTheLogarithmOfTheSoftmax) {
  const std::vector<float> logits = {std::log(1.0F), std::log(2.0F), std::log(5.0F)};
  EXPECT_NEAR(NegativeLogLikelihood(logits, 0), -std::log(1.0 / 8), 1e-6);
  EXPECT_NEAR(NegativeLogLikelihood(logits, 2), -std::log(5.0 / 8), 1e-6);
}

TEST(NegativeLogLikelihoodTest, LargeLogitsDoNotOverflow) {
  const std::vector<float> logits = {3e38F, -3e38F};
  EXPECT_EQ(NegativeLogLikelihood(logits, 0), 0);
  EXPECT_TRUE(std::isfinite(NegativeLogLikelihood(logits, 1)));
}

}  // namespace
}  // namespace glint
