// Small random models of the OPT kind, for tests of everything that runs or reads a model file.
#ifndef GLINT_TEST_SUPPORT_TINY_MODEL_H_
#define GLINT_TEST_SUPPORT_TINY_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "glint/base/status.h"
#include "storage/format/model_directory.h"

namespace glint::test {

struct TinyModelOptions {
  WeightType type = WeightType::kF16;
  uint64_t seed = 1;
  double activity = 0.5;  // mean share of active neurons, set through the bias of up (gate, where gated)
  double norm_scale = 1;  // of the norms' weights; a large one makes numbers that no float holds
  bool vectors = true;    // false: no biases and no norm parameters; activity is about a half then
  std::span<const std::byte> tokenizer = {};  // its section; empty: none
};

// 2 layers, hidden 64, 96 neurons, 4 heads, vocabulary 260, context 64, position offset 2; valid as it is.
ModelConfig TinyModelConfig();

// The unrounded values of one row of a tensor (of a vector: row 0). FFN rows are those of "blk.N.ffn_up.weight",
// "blk.N.ffn_gate.weight" and, one row per neuron, "blk.N.ffn_down.weight". They depend on the config's sizes, the
// seed, the name and the row alone. Attention scores have a standard deviation of about 4, logits and residuals stay
// small.
void TinyModelRow(const ModelConfig& config, const TinyModelOptions& options, std::string_view name, uint32_t row_index,
                  std::span<float> row);

// Writes a whole model file.
Result<ModelDirectory> WriteTinyModel(const std::string& path, const ModelConfig& config,
                                      const TinyModelOptions& options);

}  // namespace glint::test

#endif  // GLINT_TEST_SUPPORT_TINY_MODEL_H_
