#include "storage/checkpoint/opt_packer.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "glint/base/text.h"
#include "storage/checkpoint/hf_config.h"
#include "storage/checkpoint/safetensors.h"
#include "storage/checkpoint/tensor_reader.h"
#include "storage/format/model_writer.h"

namespace glint {
namespace {

constexpr uint64_t kProgressStepBytes = 4 << 20;

// Names of a checkpoint's tensors, by ours, behind the prefix that the decoder's tensors have.
struct NamePair {
  std::string_view ours;
  std::string_view theirs;
};
constexpr NamePair kModelNames[] = {
    {"token_embd.weight", "embed_tokens.weight"},         {"token_embd_proj_in.weight", "project_in.weight"},
    {"token_embd_proj_out.weight", "project_out.weight"}, {"position_embd.weight", "embed_positions.weight"},
    {"output_norm.weight", "final_layer_norm.weight"},    {"output_norm.bias", "final_layer_norm.bias"},
};
constexpr NamePair kLayerNames[] = {
    {"attn_norm", "self_attn_layer_norm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.out_proj"},
    {"ffn_norm", "final_layer_norm"},
    {"ffn_up", "fc1"},
    {"ffn_down", "fc2"},
};
constexpr std::string_view kOutputOurs = "output.weight";
constexpr std::string_view kOutputTheirs = "lm_head.weight";

bool EndsWithNorm(std::string_view role) { return role.ends_with("_norm"); }

// Splits "blk.12.ffn_up.bias" into its parts; false for a name without a layer.
bool SplitLayerName(std::string_view name, std::string_view* layer, std::string_view* role, std::string_view* kind) {
  constexpr std::string_view kBlock = "blk.";
  if (!name.starts_with(kBlock)) return false;
  const size_t layer_end = name.find('.', kBlock.size());
  const size_t role_end = name.rfind('.');
  if (layer_end == name.npos || role_end <= layer_end) return false;
  *layer = name.substr(kBlock.size(), layer_end - kBlock.size());
  *role = name.substr(layer_end + 1, role_end - layer_end - 1);
  *kind = name.substr(role_end + 1);
  return true;
}

// Returns the checkpoint's name of our tensor `name`; kInternal where TensorSpecs asks for what OPT has not.
Result<std::string> CheckpointName(std::string_view prefix, std::string_view name) {
  if (name == kOutputOurs) return std::string(kOutputTheirs);
  for (const NamePair& pair : kModelNames) {
    if (pair.ours == name) return Concat(prefix, pair.theirs);
  }
  std::string_view layer, role, kind;
  if (SplitLayerName(name, &layer, &role, &kind)) {
    for (const NamePair& pair : kLayerNames) {
      if (pair.ours == role) return Concat(prefix, "layers.", layer, ".", pair.theirs, ".", kind);
    }
  }
  return Internal(Concat("OPT has no tensor ", Quote(name)));
}

bool IsNormName(std::string_view name) {
  std::string_view layer, role, kind;
  return name.starts_with("output_norm.") || (SplitLayerName(name, &layer, &role, &kind) && EndsWithNorm(role));
}

class Packer {
 public:
  Packer(const HfConfig& hf, const Safetensors& checkpoint, const std::string& folder, const PackOptions& options)
      : hf_(hf), checkpoint_(checkpoint), folder_(folder), options_(options) {}

  // Finds every tensor and compares shapes, so that what is wrong is told before hours of work.
  Status Plan();
  Status Write(ModelWriter& writer);

 private:
  struct Ffn {
    const TensorInfo* up = nullptr;    // fc1.weight [ffn_size, hidden_size]
    const TensorInfo* down = nullptr;  // fc2.weight [hidden_size, ffn_size]
  };

  Status FindPrefix();
  Result<const TensorInfo*> Take(const std::string& name, const std::vector<uint64_t>& shape);
  void LogUnused() const;
  Status WriteTensor(ModelWriter& writer, const TensorSpec& spec);
  Status WriteLayer(ModelWriter& writer, LayerIndex layer);
  Status Advance(uint64_t bytes);

  const HfConfig& hf_;
  const Safetensors& checkpoint_;
  const std::string& folder_;
  const PackOptions& options_;
  std::string prefix_;
  std::vector<TensorSpec> specs_;                     // those that the checkpoint has
  std::map<std::string, const TensorInfo*> sources_;  // by our name
  std::vector<Ffn> ffn_;
  std::set<std::string> taken_;
  uint64_t total_bytes_ = 0;
  uint64_t done_bytes_ = 0;
  uint64_t told_bytes_ = 0;
};

Status Packer::FindPrefix() {
  for (const char* prefix : {"model.decoder.", "decoder.", ""}) {
    if (checkpoint_.Find(Concat(prefix, "embed_tokens.weight")) == nullptr) continue;
    prefix_ = prefix;
    return Status::Ok();
  }
  return NotFound(Concat(Quote(folder_), ": tensor 'model.decoder.embed_tokens.weight' is missing (nor is it there ",
                         "with the prefix 'decoder.' or with none)"));
}

Result<const TensorInfo*> Packer::Take(const std::string& name, const std::vector<uint64_t>& shape) {
  const TensorInfo* tensor = checkpoint_.Find(name);
  if (tensor == nullptr) {
    return NotFound(Concat(Quote(folder_), ": tensor ", Quote(name), " ", ShapeText(shape), " is missing"));
  }
  GLINT_RETURN_IF_ERROR(CheckReadable(checkpoint_, *tensor));
  if (tensor->shape != shape) {
    return CorruptData(Concat(Quote(checkpoint_.FileOf(*tensor).name()), ": tensor ", Quote(name), ": wanted shape ",
                              ShapeText(shape), " as config.json has it, got ", ShapeText(tensor->shape)));
  }
  taken_.insert(name);
  total_bytes_ += tensor->extent.bytes;
  return tensor;
}

Status Packer::Plan() {
  GLINT_RETURN_IF_ERROR(FindPrefix());
  for (TensorSpec& spec : TensorSpecs(hf_.config)) {
    // TensorSpecs calls every vector optional; whether this model has it is for config.json to say.
    if (spec.is_vector && !(IsNormName(spec.name) ? hf_.has_norm_parameters : hf_.has_biases)) continue;
    GLINT_ASSIGN_OR_RETURN(const std::string name, CheckpointName(prefix_, spec.name));
    const auto shape =
        spec.is_vector ? std::vector<uint64_t>{spec.columns} : std::vector<uint64_t>{spec.rows, spec.columns};
    GLINT_ASSIGN_OR_RETURN(sources_[spec.name], Take(name, shape));
    specs_.push_back(std::move(spec));
  }
  const uint64_t hidden = hf_.config.hidden_size;
  const uint64_t neurons = hf_.config.ffn_size;
  for (uint32_t layer = 0; layer < hf_.config.layer_count; ++layer) {
    Ffn& ffn = ffn_.emplace_back();
    const std::string block = Concat("blk.", layer, ".");
    GLINT_ASSIGN_OR_RETURN(const std::string up, CheckpointName(prefix_, block + "ffn_up.weight"));
    GLINT_ASSIGN_OR_RETURN(const std::string down, CheckpointName(prefix_, block + "ffn_down.weight"));
    GLINT_ASSIGN_OR_RETURN(ffn.up, Take(up, {neurons, hidden}));
    GLINT_ASSIGN_OR_RETURN(ffn.down, Take(down, {hidden, neurons}));
  }
  LogUnused();
  return Status::Ok();
}

// A tied model's output matrix is stored a second time by some; transformers does not read it either.
void Packer::LogUnused() const {
  constexpr uint64_t kNamesMax = 8;
  std::string names;
  uint64_t count = 0;
  for (const auto& [name, tensor] : checkpoint_.tensors()) {
    if (taken_.contains(name) || (name == kOutputTheirs && hf_.config.tied_output)) continue;
    if (++count <= kNamesMax) names += (count == 1 ? "" : ", ") + Quote(name);
  }
  if (count == 0 || !options_.log) return;
  if (count > kNamesMax) names += Concat(" and ", count - kNamesMax, " more");
  options_.log(Concat(Quote(folder_), ": ", count, count == 1 ? " tensor is" : " tensors are", " not used: ", names));
}

Status Packer::Advance(uint64_t bytes) {
  done_bytes_ += bytes;
  if (done_bytes_ - told_bytes_ < kProgressStepBytes && done_bytes_ != total_bytes_) return Status::Ok();
  told_bytes_ = done_bytes_;
  if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
    return Cancelled("packing was stopped; no file was written");
  }
  if (options_.progress) options_.progress(done_bytes_, total_bytes_);
  return Status::Ok();
}

Status Packer::WriteTensor(ModelWriter& writer, const TensorSpec& spec) {
  const TensorInfo& tensor = *sources_.at(spec.name);
  RowReader reader(&checkpoint_, &tensor);
  if (spec.is_vector) {
    std::vector<float> values(spec.columns);
    GLINT_RETURN_IF_ERROR(reader.Read(0, values));
    GLINT_RETURN_IF_ERROR(writer.WriteVector(spec.name, values));
    return Advance(tensor.extent.bytes);
  }
  const auto source = [&](uint32_t row, std::span<float> into) -> Status {
    GLINT_RETURN_IF_ERROR(reader.Read(row, into));
    return Advance(tensor.extent.bytes / spec.rows);
  };
  return writer.WriteMatrix(spec.name, TypeOf(spec.name, options_.type), spec.rows, spec.columns, source);
}

Status Packer::WriteLayer(ModelWriter& writer, LayerIndex layer) {
  const Ffn& ffn = ffn_[layer.value];
  RowReader up_reader(&checkpoint_, ffn.up);
  ColumnReader down_reader(&checkpoint_, ffn.down);
  const uint64_t neuron_bytes = (ffn.up->extent.bytes + ffn.down->extent.bytes) / hf_.config.ffn_size;
  const auto source = [&](NeuronId neuron, std::span<float>, std::span<float> up, std::span<float> down) -> Status {
    GLINT_RETURN_IF_ERROR(up_reader.Read(neuron.value, up));
    GLINT_RETURN_IF_ERROR(down_reader.Read(neuron.value, down));
    return Advance(neuron_bytes);
  };
  return writer.WriteFfn(layer, source);
}

Status Packer::Write(ModelWriter& writer) {
  for (const TensorSpec& spec : specs_) GLINT_RETURN_IF_ERROR(WriteTensor(writer, spec));
  for (uint32_t layer = 0; layer < hf_.config.layer_count; ++layer) {
    GLINT_RETURN_IF_ERROR(WriteLayer(writer, LayerIndex(layer)));
  }
  if (!options_.tokenizer_section.empty()) return writer.WriteTokenizer(options_.tokenizer_section);
  return Status::Ok();
}

}  // namespace

WeightType TypeOf(std::string_view name, WeightType pack_type) {
  if (pack_type == WeightType::kF32) return WeightType::kF32;
  // One row of it is added to every token's state, and all of it is small: precision is cheap here.
  if (name == "position_embd.weight") return WeightType::kF16;
  const bool embedding = name == "token_embd.weight" || name == kOutputOurs || name.starts_with("token_embd_proj_");
  if (embedding && pack_type == WeightType::kQ4_0) return WeightType::kQ8_0;
  return pack_type;
}

Result<ModelDirectory> PackOpt(const std::string& folder, const std::string& path, const PackOptions& options) {
  GLINT_ASSIGN_OR_RETURN(const HfConfig hf, ReadHfConfig(folder));
  GLINT_ASSIGN_OR_RETURN(const Safetensors checkpoint, Safetensors::Open(folder));
  Packer packer(hf, checkpoint, folder, options);
  GLINT_RETURN_IF_ERROR(packer.Plan());
  GLINT_ASSIGN_OR_RETURN(ModelWriter writer, ModelWriter::Create(path, hf.config, options.type));
  GLINT_RETURN_IF_ERROR(packer.Write(writer));
  return writer.Finish();
}

}  // namespace glint
