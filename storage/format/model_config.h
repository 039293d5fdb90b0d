// What a model is, as data: one decoder runs them all. Stored in the model file's directory.
#ifndef GLINT_STORAGE_FORMAT_MODEL_CONFIG_H_
#define GLINT_STORAGE_FORMAT_MODEL_CONFIG_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "glint/base/ids.h"
#include "glint/base/status.h"

namespace glint {

enum class Activation : uint8_t { kRelu };

// Bounds of a config. They are wide for any model we know of, and small enough that no product of sizes overflows 64
// bits, that one neuron's granule fits kGranuleBytesMax in every type, and that a directory stays under its limit.
inline constexpr uint32_t kLayerCountMax = 256;
inline constexpr uint32_t kHiddenSizeMax = 24576;
inline constexpr uint32_t kFfnSizeMax = 1U << 20;
inline constexpr uint32_t kVocabSizeMax = 1U << 22;
inline constexpr uint32_t kContextMax = 1U << 22;
inline constexpr uint32_t kPositionOffsetMax = 1024;
inline constexpr size_t kEosIdsMax = 16;
inline constexpr size_t kNameBytesMax = 256;

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
  bool tied_output = true;  // logits come from token_embd; else from output.weight
  Activation activation = Activation::kRelu;
  float norm_epsilon = 1e-5F;
  TokenId bos_id = -1;           // prepended by `run`; -1: none
  std::vector<TokenId> eos_ids;  // end of text; at most 16
  double activity = 0;           // stated mean share of active neurons; 0: not known

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;

  uint32_t head_size() const { return head_count == 0 ? 0 : hidden_size / head_count; }
};

// kCorruptData with the key, wanted and got, where a number is out of bounds (zero sizes, heads that do not divide,
// sizes whose products would overflow). What passes here can be computed with without further checks.
Status ValidateModelConfig(const ModelConfig& config);

}  // namespace glint

#endif  // GLINT_STORAGE_FORMAT_MODEL_CONFIG_H_
