// What a model is, as data: one decoder runs them all. Stored in the model file's directory.
#ifndef GLINT_STORAGE_FORMAT_MODEL_CONFIG_H_
#define GLINT_STORAGE_FORMAT_MODEL_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "glint/base/ids.h"
#include "glint/base/status.h"

namespace glint {

enum class Activation : uint8_t { kRelu };

struct ModelConfig {
  std::string architecture;  // "opt"
  std::string name;          // for people
  bool synthetic = false;    // random weights; shown wherever the model is
  uint32_t layer_count = 0;
  uint32_t hidden_size = 0;      // width of the residual stream
  uint32_t ffn_size = 0;         // neurons per layer
  uint32_t head_count = 0;       // divides hidden_size
  uint32_t vocab_size = 0;       // rows of the embedding; the tokenizer may know fewer
  uint32_t embedding_size = 0;   // hidden_size, or less where the model projects in and out (OPT-350m)
  uint32_t context_max = 0;      // positions that the model was made for
  uint32_t position_offset = 0;  // row of position_embd for position 0 (OPT: 2)
  bool norm_before = true;       // norm before each block and residual around both; else after the addition
  bool final_norm = true;
  bool gated = false;
  Activation activation = Activation::kRelu;
  float norm_epsilon = 1e-5F;
  TokenId bos_id = -1;           // prepended by `run`; -1: none
  std::vector<TokenId> eos_ids;  // end of text; at most 16
  double activity = 0;           // stated mean share of active neurons; 0: not known

  uint32_t head_size() const { return head_count == 0 ? 0 : hidden_size / head_count; }
};

// kCorruptData with the key, wanted and got, where a number is out of bounds (zero sizes, heads that do not divide,
// sizes whose products would overflow). What passes here can be computed with without further checks.
Status ValidateModelConfig(const ModelConfig& config);

}  // namespace glint

#endif  // GLINT_STORAGE_FORMAT_MODEL_CONFIG_H_
