#include "test/support/tiny_model.h"

#include <gtest/gtest.h>

#include <cmath>

namespace glint {
namespace {

// For normed inputs: a neuron's sum is normal, with the row's norm for its deviation and the bias for its mean.
TEST(TinyModelTest, ActivityIsAsStated) {
  ModelConfig config = test::TinyModelConfig();
  config.ffn_size = 4000;
  for (const double activity : {0.05, 0.5, 0.9}) {
    const test::TinyModelOptions options = {.seed = 5, .activity = activity};
    std::vector<float> bias(config.ffn_size);
    test::TinyModelRow(config, options, "blk.0.ffn_up.bias", 0, bias);
    std::vector<float> row(config.hidden_size);
    double sum = 0;
    for (uint32_t neuron = 0; neuron < config.ffn_size; ++neuron) {
      test::TinyModelRow(config, options, "blk.0.ffn_up.weight", neuron, row);
      double squares = 0;
      for (const float value : row) squares += value * value;
      sum += 0.5 * std::erfc(-bias[neuron] / std::sqrt(squares) / std::sqrt(2.0));
    }
    EXPECT_NEAR(sum / config.ffn_size, activity, 0.01);
  }
}

TEST(TinyModelTest, RowsDependOnSeedNameAndIndex) {
  const ModelConfig config = test::TinyModelConfig();
  const auto row = [&](uint64_t seed, const char* name, uint32_t index) {
    std::vector<float> values(8);
    test::TinyModelRow(config, {.seed = seed}, name, index, values);
    return values;
  };
  const auto base = row(1, "blk.0.attn_q.weight", 0);
  EXPECT_EQ(row(1, "blk.0.attn_q.weight", 0), base);
  EXPECT_NE(row(2, "blk.0.attn_q.weight", 0), base);
  EXPECT_NE(row(1, "blk.1.attn_q.weight", 0), base);
  EXPECT_NE(row(1, "blk.0.attn_q.weight", 1), base);
}

}  // namespace
}  // namespace glint
