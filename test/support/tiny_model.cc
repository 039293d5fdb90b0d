#include "test/support/tiny_model.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "glint/base/text.h"
#include "storage/format/model_writer.h"

namespace glint::test {
namespace {

// Own random numbers: those of <random> differ from library to library.
class Gaussian {
 public:
  explicit Gaussian(uint64_t seed) : state_(seed) {}

  float Next(double mean, double deviation) {
    const double radius = std::sqrt(-2 * std::log(1 - Uniform()));
    return static_cast<float>(mean + deviation * radius * std::cos(2 * std::numbers::pi * Uniform()));
  }

 private:
  // SplitMix64.
  uint64_t NextBits() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  double Uniform() { return static_cast<double>(NextBits() >> 11) * 0x1p-53; }

  uint64_t state_;
};

// FNV-1a over the name and the row.
uint64_t SeedOf(uint64_t seed, std::string_view name, uint32_t row_index) {
  uint64_t hash = 0xCBF29CE484222325U ^ seed;
  const auto mix = [&](uint64_t value) { hash = (hash ^ value) * 0x100000001B3U; };
  for (const char c : name) mix(static_cast<unsigned char>(c));
  mix(row_index);
  mix(row_index >> 16);
  return hash;
}

// The x at which a standard normal variable is above -x with probability `share`.
double NormalQuantile(double share) {
  double low = -8;
  double high = 8;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::numbers::sqrt2) < share ? low : high) = middle;
  }
  return low;
}

struct Distribution {
  double mean = 0;
  double deviation = 0;
};

// Inputs of a matrix are normed: each element about 1. Rows of deviation 1 / sqrt(columns) keep it so.
Distribution DistributionOf(const ModelConfig& config, const TinyModelOptions& options, std::string_view name) {
  const double per_hidden = 1 / std::sqrt(config.hidden_size);
  const auto ends = [&](std::string_view suffix) { return name.ends_with(suffix); };
  if (ends("norm.weight")) return {options.norm_scale, 0.1 * options.norm_scale};
  if (ends(config.gated ? "ffn_gate.bias" : "ffn_up.bias")) return {NormalQuantile(options.activity), 0.05};
  if (ends(".bias")) return {0, 0.1};
  // A score is a sum of head_size products of elements of deviation 2, divided by sqrt(head_size): deviation 4.
  if (ends("attn_q.weight") || ends("attn_k.weight")) return {0, 2 * per_hidden};
  if (ends("ffn_down.weight")) return {0, 1 / std::sqrt(config.ffn_size * std::max(options.activity, 0.01))};
  if (name == "token_embd_proj_in.weight") return {0, 1 / std::sqrt(config.embedding_size)};
  if (name == "token_embd.weight" || name == "output.weight") return {0, 0.5};
  if (name == "position_embd.weight") return {0, 0.5};
  return {0, per_hidden};
}

Status WriteTensor(const ModelConfig& config, const TinyModelOptions& options, const TensorSpec& spec,
                   ModelWriter* writer) {
  const auto fill = [&](uint32_t row_index, std::span<float> row) {
    TinyModelRow(config, options, spec.name, row_index, row);
    return Status::Ok();
  };
  if (!spec.is_vector) return writer->WriteMatrix(spec.name, options.type, spec.rows, spec.columns, fill);
  if (!options.vectors) return Status::Ok();
  std::vector<float> values(spec.columns);
  GLINT_RETURN_IF_ERROR(fill(0, values));
  return writer->WriteVector(spec.name, values);
}

}  // namespace

ModelConfig TinyModelConfig() {
  ModelConfig config;
  config.architecture = "opt";
  config.name = "tiny";
  config.layer_count = 2;
  config.hidden_size = 64;
  config.ffn_size = 96;
  config.head_count = 4;
  config.vocab_size = 260;
  config.embedding_size = 64;
  config.context_max = 64;
  config.position_offset = 2;
  config.bos_id = 2;
  config.eos_ids = {2};
  return config;
}

void TinyModelRow(const ModelConfig& config, const TinyModelOptions& options, std::string_view name, uint32_t row_index,
                  std::span<float> row) {
  const Distribution distribution = DistributionOf(config, options, name);
  Gaussian gaussian(SeedOf(options.seed, name, row_index));
  for (float& value : row) value = gaussian.Next(distribution.mean, distribution.deviation);
}

Result<ModelDirectory> WriteTinyModel(const std::string& path, const ModelConfig& config,
                                      const TinyModelOptions& options) {
  GLINT_ASSIGN_OR_RETURN(ModelWriter writer, ModelWriter::Create(path, config, options.type));
  for (const TensorSpec& spec : TensorSpecs(config)) {
    GLINT_RETURN_IF_ERROR(WriteTensor(config, options, spec, &writer));
  }
  for (LayerIndex layer{0}; layer.value < config.layer_count; ++layer.value) {
    const std::string block = Concat("blk.", layer.value, ".ffn_");
    const auto neuron_rows = [&](NeuronId neuron, std::span<float> gate, std::span<float> up, std::span<float> down) {
      if (!gate.empty()) TinyModelRow(config, options, block + "gate.weight", neuron.value, gate);
      TinyModelRow(config, options, block + "up.weight", neuron.value, up);
      TinyModelRow(config, options, block + "down.weight", neuron.value, down);
      return Status::Ok();
    };
    GLINT_RETURN_IF_ERROR(writer.WriteFfn(layer, neuron_rows));
  }
  if (!options.tokenizer.empty()) GLINT_RETURN_IF_ERROR(writer.WriteTokenizer(options.tokenizer));
  return writer.Finish();
}

}  // namespace glint::test
