#include "glint/base/text.h"
#include "storage/format/model_directory.h"

namespace glint {
namespace {

class SpecList {
 public:
  void Matrix(std::string name, uint32_t rows, uint32_t columns) {
    specs_.push_back({std::move(name), rows, columns, /*is_vector=*/false, /*optional=*/false});
  }
  // A model may lack any vector: biases where they are off, norm parameters where norms have none.
  void Vector(std::string name, uint32_t columns) {
    specs_.push_back({std::move(name), 1, columns, /*is_vector=*/true, /*optional=*/true});
  }
  void Norm(const std::string& name, uint32_t columns) {
    Vector(name + ".weight", columns);
    Vector(name + ".bias", columns);
  }
  std::vector<TensorSpec> Take() { return std::move(specs_); }

 private:
  std::vector<TensorSpec> specs_;
};

}  // namespace

std::vector<TensorSpec> TensorSpecs(const ModelConfig& config) {
  const uint32_t hidden = config.hidden_size;
  const uint32_t embedding = config.embedding_size;
  SpecList list;
  list.Matrix("token_embd.weight", config.vocab_size, embedding);
  if (embedding != hidden) {
    list.Matrix("token_embd_proj_in.weight", hidden, embedding);
    list.Matrix("token_embd_proj_out.weight", embedding, hidden);
  }
  list.Matrix("position_embd.weight", config.context_max + config.position_offset, hidden);
  if (config.final_norm) list.Norm("output_norm", hidden);
  if (!config.tied_output) list.Matrix("output.weight", config.vocab_size, embedding);
  for (uint32_t layer = 0; layer < config.layer_count; ++layer) {
    const std::string block = Concat("blk.", layer, ".");
    list.Norm(block + "attn_norm", hidden);
    for (const char* role : {"attn_q", "attn_k", "attn_v", "attn_output"}) {
      list.Matrix(block + role + ".weight", hidden, hidden);
      list.Vector(block + role + ".bias", hidden);
    }
    list.Norm(block + "ffn_norm", hidden);
    if (config.gated) list.Vector(block + "ffn_gate.bias", config.ffn_size);
    list.Vector(block + "ffn_up.bias", config.ffn_size);
    list.Vector(block + "ffn_down.bias", hidden);
  }
  return list.Take();
}

}  // namespace glint
