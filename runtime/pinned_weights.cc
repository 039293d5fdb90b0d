#include "runtime/pinned_weights.h"

#include <string>

#include "glint/base/text.h"
#include "glint/base/units.h"

namespace glint {

namespace {

// Loads by name what the directory has; the directory's parser has made sure that what is needed is there.
class Loader {
 public:
  Loader(ModelFile* file, const ModelTables& tables, Arena* arena) : file_(file), tables_(tables), arena_(arena) {}

  Result<Matrix> LoadMatrix(const std::string& name) {
    const MatrixEntry* entry = file_->directory().FindMatrix(name);
    if (entry == nullptr) return Matrix{};
    const std::span<std::byte> memory = arena_->Take(AlignUp(entry->extent.bytes, kPageBytes), kPageBytes);
    GLINT_RETURN_IF_ERROR(file_->LoadMatrix(*entry, tables_.Checksums(entry->checksums), memory));
    return Matrix{entry->type, entry->rows, entry->columns, RowStride(entry->type, entry->columns), memory.data()};
  }

  Norm GetNorm(const std::string& name) { return {GetVector(name + ".weight"), GetVector(name + ".bias")}; }

  Result<Linear> LoadLinear(const std::string& name) {
    GLINT_ASSIGN_OR_RETURN(Matrix weight, LoadMatrix(name + ".weight"));
    return Linear{weight, GetVector(name + ".bias")};
  }

  std::span<const float> GetVector(const std::string& name) { return tables_.Vector(file_->directory(), name); }

 private:
  ModelFile* file_;
  const ModelTables& tables_;
  Arena* arena_;
};

}  // namespace

uint64_t PinnedWeights::BytesNeeded(const ModelDirectory& directory) {
  uint64_t bytes = 0;
  for (const MatrixEntry& matrix : directory.matrices) bytes += AlignUp(matrix.extent.bytes, kPageBytes);
  return bytes;
}

Result<PinnedWeights> PinnedWeights::Load(ModelFile* file, const ModelTables& tables, Arena* arena) {
  Loader loader(file, tables, arena);
  PinnedWeights weights;
  GLINT_ASSIGN_OR_RETURN(weights.token_embedding, loader.LoadMatrix("token_embd.weight"));
  GLINT_ASSIGN_OR_RETURN(weights.position_embedding, loader.LoadMatrix("position_embd.weight"));
  GLINT_ASSIGN_OR_RETURN(weights.project_in, loader.LoadMatrix("token_embd_proj_in.weight"));
  GLINT_ASSIGN_OR_RETURN(weights.project_out, loader.LoadMatrix("token_embd_proj_out.weight"));
  GLINT_ASSIGN_OR_RETURN(weights.output, loader.LoadMatrix("output.weight"));
  if (file->directory().config.tied_output) weights.output = weights.token_embedding;
  weights.output_norm = loader.GetNorm("output_norm");
  for (uint32_t i = 0; i < file->directory().config.layer_count; ++i) {
    const std::string block = Concat("blk.", i, ".");
    LayerWeights& layer = weights.layers.emplace_back();
    layer.attention_norm = loader.GetNorm(block + "attn_norm");
    GLINT_ASSIGN_OR_RETURN(layer.q, loader.LoadLinear(block + "attn_q"));
    GLINT_ASSIGN_OR_RETURN(layer.k, loader.LoadLinear(block + "attn_k"));
    GLINT_ASSIGN_OR_RETURN(layer.v, loader.LoadLinear(block + "attn_v"));
    GLINT_ASSIGN_OR_RETURN(layer.attention_output, loader.LoadLinear(block + "attn_output"));
    layer.ffn_norm = loader.GetNorm(block + "ffn_norm");
    layer.first_bias = loader.GetVector(block + "ffn_up.bias");
    layer.down_bias = loader.GetVector(block + "ffn_down.bias");
  }
  return weights;
}

}  // namespace glint
