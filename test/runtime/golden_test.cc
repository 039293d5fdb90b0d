// The included model against its reference values (test/models/tales-opt/README.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "glint/base/text.h"
#include "runtime/model.h"
#include "runtime/session.h"
#include "test/runtime/packed_model.h"
#include "test/support/npy.h"
#include "test/support/temp_dir.h"

namespace glint {
namespace {

// Where the reference's best two logits are closer, another token is no fault; see the model's README.
constexpr double kTopGapMin = 0.04;
constexpr float kLogitError = 0.01F;
constexpr uint64_t kAmpleBytes = 64 << 20;

struct Golden {
  std::string prompt;
  std::vector<TokenId> input_ids;
  std::vector<TokenId> greedy_ids;
  std::string greedy_text;
  std::vector<double> top1_gap;  // [greedy_ids]
};

std::vector<Golden> ReadGoldens() {
  std::vector<Golden> goldens;
  const nlohmann::json json = test::ReadJson(test::CheckpointFolder("tales-opt/goldens") + "/goldens.json");
  for (const nlohmann::json& prompt : json.at("prompts")) {
    goldens.push_back({prompt.at("prompt"), prompt.at("input_ids"), prompt.at("greedy_ids"), prompt.at("greedy_text"),
                       prompt.at("top1_gap")});
  }
  return goldens;
}

test::NpyArray<float> ReadLogits(const std::string& name) {
  return test::ReadNpyFloat32(test::CheckpointFolder("tales-opt/goldens") + "/" + name).value();
}

float LargestDifference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  float largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    // Not std::max, which would let a NaN pass.
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

class GoldenTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    const auto packed =
        test::PackCheckpoint(test::CheckpointFolder("tales-opt"), folder_->Path("tales.glint"), WeightType::kF16);
    ASSERT_TRUE(packed.ok()) << packed.status().message();
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  void SetUp() override {
    ASSERT_EQ(goldens_.size(), 8U);
    ASSERT_EQ(logits_.shape, (std::vector<uint64_t>{8, 4096}));
  }

  static std::unique_ptr<Model> Open(ModelOptions options) {
    if (options.budget_bytes == 0) options.budget_bytes = kAmpleBytes;
    options.threads = 2;
    Result<std::unique_ptr<Model>> model = Model::Open(folder_->Path("tales.glint"), options);
    EXPECT_TRUE(model.ok()) << model.status().message();
    return model.ok() ? std::move(model).value() : nullptr;
  }

  // Opens with the least budget that does for these options, and `more_bytes`.
  static std::unique_ptr<Model> OpenWithLeastBudget(ModelOptions options, uint64_t more_bytes) {
    options.budget_bytes = 0;
    const std::unique_ptr<Model> ample = Open(options);
    options.budget_bytes = ample->plan().least_budget_bytes + more_bytes;
    return Open(options);
  }

  // Feeds every prompt, compares the logits that follow it, then the greedy tokens as far as they are certain, at most
  // `tokens_max` of each.
  void ExpectGoldens(Model* model, size_t tokens_max = SIZE_MAX) {
    ASSERT_NE(model, nullptr);
    const std::unique_ptr<Session> session = Session::Open(model).value();
    ASSERT_TRUE(session->SetSampler({.temperature = 0}).ok());
    size_t compared = 0;
    for (size_t p = 0; p < goldens_.size(); ++p) {
      const Golden& golden = goldens_[p];
      SCOPED_TRACE(golden.prompt);
      ASSERT_TRUE(session->Rewind(0).ok());
      ASSERT_TRUE(session->Feed(golden.input_ids).ok());
      EXPECT_LE(LargestDifference(session->Logits().value(), std::span(logits_.values).subspan(p * 4096, 4096)),
                kLogitError);
      for (size_t i = 0; i < std::min(golden.greedy_ids.size(), tokens_max) && golden.top1_gap[i] >= kTopGapMin; ++i) {
        const Result<TokenId> token = session->Sample();
        ASSERT_TRUE(token.ok()) << token.status().message();
        ASSERT_EQ(*token, golden.greedy_ids[i]) << "token " << i;
        ++compared;
        ASSERT_TRUE(session->Feed({&*token, 1}).ok());
      }
    }
    // The goldens themselves say how many are certain; a few would prove little.
    EXPECT_GE(compared, tokens_max == SIZE_MAX ? 200U : 8 * std::min<size_t>(tokens_max, 3));
  }

  static test::TempDir* folder_;
  const std::vector<Golden> goldens_ = ReadGoldens();
  const test::NpyArray<float> logits_ = ReadLogits("golden_logits.npy");
};

test::TempDir* GoldenTest::folder_ = nullptr;

TEST_F(GoldenTest, ExactGivesTheReferencesLogitsAndTokens) {
  ExpectGoldens(Open({.predictor = PredictorKind::kExact}).get());
}

TEST_F(GoldenTest, AllGivesTheReferencesLogitsAndTokens) {
  ExpectGoldens(Open({.predictor = PredictorKind::kAll}).get());
}

TEST_F(GoldenTest, ASmallBudgetGivesTheReferencesLogitsAndTokens) {
  const std::unique_ptr<Model> model = OpenWithLeastBudget({.predictor = PredictorKind::kExact}, 2 << 20);
  ExpectGoldens(model.get());
  EXPECT_LT(model->request().budget_bytes, model->directory().file_bytes);
  EXPECT_GT(model->Stats().reader.flash_read_bytes, model->directory().file_bytes) << "this was to be streamed";
}

// Reads are one bundle each here, so a few tokens must do.
TEST_F(GoldenTest, TheLeastBudgetGivesTheReferencesLogitsAndTokens) {
  for (const PredictorKind predictor : {PredictorKind::kExact, PredictorKind::kAll}) {
    ExpectGoldens(OpenWithLeastBudget({.predictor = predictor}, 0).get(), 3);
  }
}

TEST_F(GoldenTest, PreadWithoutACacheGivesTheReferencesLogitsAndTokens) {
  ExpectGoldens(
      Open({.window_tokens = 0, .gap_bytes_max = 0, .predictor = PredictorKind::kExact, .io = IoEngineKind::kPread})
          .get());
}

TEST_F(GoldenTest, EveryPositionOfTheFirstPromptHasTheReferencesLogits) {
  const test::NpyArray<float> trace = ReadLogits("golden_trace_logits.npy");
  const std::vector<TokenId>& ids = goldens_[0].input_ids;
  ASSERT_EQ(trace.shape, (std::vector<uint64_t>{ids.size(), 4096}));
  const std::unique_ptr<Model> model = Open({});
  const std::unique_ptr<Session> session = Session::Open(model.get()).value();
  for (size_t t = 0; t < ids.size(); ++t) {
    ASSERT_TRUE(session->Feed(std::span(ids).subspan(t, 1)).ok());
    EXPECT_LE(LargestDifference(session->Logits().value(), std::span(trace.values).subspan(t * 4096, 4096)),
              kLogitError)
        << "position " << t;
  }
}

TEST_F(GoldenTest, ABatchVisitsTheSameLogitsAsTokenByToken) {
  const std::vector<TokenId>& ids = goldens_[7].input_ids;
  const std::unique_ptr<Model> model = Open({});
  const std::unique_ptr<Session> session = Session::Open(model.get()).value();
  std::vector<std::vector<float>> single;
  for (const TokenId id : ids) {
    ASSERT_TRUE(session->Feed({&id, 1}).ok());
    const std::span<const float> logits = session->Logits().value();
    single.emplace_back(logits.begin(), logits.end());
  }
  ASSERT_TRUE(session->Rewind(0).ok());
  size_t visited = 0;
  const Status fed = session->Feed(ids, [&](uint32_t position, std::span<const float> logits) {
    EXPECT_EQ(position, visited);
    EXPECT_EQ(LargestDifference(logits, single[visited]), 0) << "position " << position;
    ++visited;
    return Status::Ok();
  });
  EXPECT_TRUE(fed.ok()) << fed.message();
  EXPECT_EQ(visited, ids.size());
}

TEST_F(GoldenTest, PromptsAndContinuationsRoundTripThroughTheTokenizer) {
  const std::unique_ptr<Model> model = Open({});
  const Tokenizer* tokenizer = model->tokenizer_or_null();
  ASSERT_NE(tokenizer, nullptr);
  for (const Golden& golden : goldens_) {
    std::vector<TokenId> ids = {model->config().bos_id};
    ASSERT_TRUE(tokenizer->Encode(golden.prompt, /*parse_special=*/false, &ids).ok());
    EXPECT_EQ(ids, golden.input_ids);
    EXPECT_EQ(tokenizer->Decode(golden.input_ids, /*with_special=*/false), golden.prompt);
    EXPECT_EQ(tokenizer->Decode(golden.greedy_ids, /*with_special=*/false), golden.greedy_text);
  }
}

}  // namespace
}  // namespace glint
