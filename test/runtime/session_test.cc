// What a session promises beside its numbers: who may end when, and what happens where numbers are none.
#include "runtime/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "test/support/temp_dir.h"
#include "test/support/tiny_model.h"

namespace glint {
namespace {

using ::testing::HasSubstr;

class SessionTest : public ::testing::Test {
 protected:
  std::unique_ptr<Model> OpenModel(const test::TinyModelOptions& made, ModelOptions options = {}) {
    const std::string path = folder_.Path("tiny.glint");
    const auto written = test::WriteTinyModel(path, test::TinyModelConfig(), made);
    EXPECT_TRUE(written.ok()) << written.status().message();
    if (options.budget_bytes == 0) options.budget_bytes = 16 << 20;
    return std::move(Model::Open(path, options)).value();
  }

  const test::TempDir folder_;
};

// Norm weights of 1e4 overflow the keys and values' half precision, of 1e30 the floats themselves.
TEST_F(SessionTest, NumbersThatOverflowAreANamedErrorWithEveryPredictorAndType) {
  for (const double norm_scale : {1e4, 1e30}) {
    for (const WeightType type : {WeightType::kF16, WeightType::kQ8_0, WeightType::kQ4_0}) {
      for (const PredictorKind predictor : {PredictorKind::kExact, PredictorKind::kAll}) {
        const auto model = OpenModel({.type = type, .norm_scale = norm_scale}, {.threads = 2, .predictor = predictor});
        const auto session = std::move(Session::Open(model.get())).value();
        const std::vector<TokenId> tokens(40, 7);
        ASSERT_TRUE(session->Feed(tokens).ok());
        const Result<TokenId> sampled = session->Sample();
        ASSERT_FALSE(sampled.ok());
        EXPECT_EQ(sampled.status().code(), StatusCode::kCorruptData);
        EXPECT_THAT(sampled.status().message(), HasSubstr("logit"));
        EXPECT_EQ(session->position(), 40U);
      }
    }
  }
}

using SessionDeathTest = SessionTest;

TEST_F(SessionDeathTest, AModelIsNotClosedUnderItsSessions) {
  auto model = OpenModel({}, {.threads = 1});
  const auto session = std::move(Session::Open(model.get())).value();
  EXPECT_DEATH(model.reset(), "check failed: !session.taken");
}

TEST_F(SessionTest, SessionsOpenAndCloseFromSeveralThreads) {
  const auto model = OpenModel({}, {.sessions_max = 3, .threads = 1});
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 20; ++j) {
        const auto session = Session::Open(model.get());
        ASSERT_TRUE(session.ok()) << session.status().message();
        ASSERT_TRUE((*session)->Feed(std::vector<TokenId>{2, 7}).ok());
        (void)model->Stats();
        (void)model->direct_io();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(model->Stats().tokens, 3U * 20 * 2);
}

}  // namespace
}  // namespace glint
