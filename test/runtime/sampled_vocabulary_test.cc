// A checkpoint's embedding is often padded: it has rows for ids that its tokenizer does not know.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "runtime/model.h"
#include "runtime/session.h"
#include "test/support/temp_dir.h"
#include "test/support/tiny_model.h"
#include "tokenizer/tokenizer.h"

namespace glint {
namespace {

constexpr uint32_t kPaddedVocab = 1000;
constexpr TokenId kKnownIds = 260;  // of the byte tokenizer

class SampledVocabularyTest : public ::testing::Test {
 protected:
  void Open(std::span<const std::byte> tokenizer) {
    ModelConfig config = test::TinyModelConfig();
    config.vocab_size = kPaddedVocab;
    const std::string path = folder_.Path("padded.glint");
    const auto written = test::WriteTinyModel(path, config, {.tokenizer = tokenizer});
    ASSERT_TRUE(written.ok()) << written.status().message();
    model_ = Model::Open(path, {.budget_bytes = 32 << 20, .threads = 1}).value();
    session_ = Session::Open(model_.get()).value();
  }

  struct Drawn {
    int best_is_padding = 0;  // positions whose largest logit is of an id beyond the tokenizer
    int padding = 0;          // draws of such an id
  };

  // Feeds many different tokens and draws after each.
  Drawn Draw(const SamplerOptions& options) {
    Drawn drawn;
    EXPECT_TRUE(session_->SetSampler(options).ok());
    EXPECT_TRUE(session_->Rewind(0).ok());
    for (TokenId token = 0; token < 60; ++token) {
      EXPECT_TRUE(session_->Feed({&token, 1}).ok());
      const std::span<const float> logits = session_->Logits().value();
      drawn.best_is_padding += std::max_element(logits.begin(), logits.end()) - logits.begin() >= kKnownIds ? 1 : 0;
      for (int i = 0; i < 20; ++i) drawn.padding += session_->Sample().value() >= kKnownIds ? 1 : 0;
    }
    return drawn;
  }

  test::TempDir folder_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Session> session_;
};

constexpr SamplerOptions kGreedy = {.temperature = 0};
constexpr SamplerOptions kAnything = {.temperature = 100, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 3};

TEST_F(SampledVocabularyTest, IdsBeyondTheTokenizerAreNeverDrawn) {
  Open(BuildByteTokenizer());
  for (const SamplerOptions& options : {kGreedy, kAnything}) {
    const Drawn drawn = Draw(options);
    EXPECT_GT(drawn.best_is_padding, 10) << "the model was to prefer ids that do not exist";
    EXPECT_EQ(drawn.padding, 0);
  }
}

TEST_F(SampledVocabularyTest, WithoutATokenizerEveryIdCanBeDrawn) {
  Open({});
  EXPECT_GT(Draw(kGreedy).padding, 0);
  EXPECT_GT(Draw(kAnything).padding, 0);
}

}  // namespace
}  // namespace glint
