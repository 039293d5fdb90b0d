// The weights that every token needs, in memory for as long as the model is open. Anonymous memory, so that the system
// cannot reclaim them behind our back.
#ifndef GLINT_RUNTIME_PINNED_WEIGHTS_H_
#define GLINT_RUNTIME_PINNED_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "glint/base/status.h"
#include "storage/flash/aligned_buffer.h"
#include "storage/format/model_file.h"

namespace glint {

// rows x columns, stored row after row. Empty (rows == 0) where a model has no such matrix.
struct Matrix {
  WeightType type = WeightType::kF16;
  uint32_t rows = 0;
  uint32_t columns = 0;
  uint64_t stride = 0;
  const std::byte* data = nullptr;

  const std::byte* Row(uint64_t row) const { return data + row * stride; }
};

// A norm or a linear map's bias; spans are empty where the model has none.
struct Norm {
  std::span<const float> weight;
  std::span<const float> bias;
};
struct Linear {
  Matrix weight;  // [out][in]
  std::span<const float> bias;
};

struct LayerWeights {
  Norm attention_norm;
  Linear q, k, v;  // [hidden][hidden]
  Linear attention_output;
  Norm ffn_norm;
  std::span<const float> first_bias;  // [ffn]: of the rows known first
  std::span<const float> down_bias;   // [hidden]
};

struct PinnedWeights {
  Matrix token_embedding;     // [vocab][embedding]
  Matrix position_embedding;  // [context_max + position_offset][hidden]
  Matrix project_in;          // [hidden][embedding], where they differ
  Matrix project_out;         // [embedding][hidden]
  Norm output_norm;
  Matrix output;  // [vocab][embedding]: the token embedding itself where they are tied
  std::vector<LayerWeights> layers;

  // Bytes of the matrices; the tables are counted apart.
  static uint64_t BytesNeeded(const ModelDirectory& directory);
  static Result<PinnedWeights> Load(ModelFile* file, const ModelTables& tables, Arena* arena);
};

}  // namespace glint

#endif  // GLINT_RUNTIME_PINNED_WEIGHTS_H_
