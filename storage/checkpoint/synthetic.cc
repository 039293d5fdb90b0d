#include "storage/checkpoint/synthetic.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "glint/base/text.h"
#include "storage/checkpoint/opt_packer.h"
#include "storage/checkpoint/random_weights.h"
#include "storage/format/model_writer.h"

namespace glint {
namespace {

constexpr double kProbabilityMax = 0.95;
constexpr uint64_t kProgressStepBytes = 4 << 20;
constexpr TokenId kEndOfText = 2;  // as in OPT's vocabularies and in the byte tokenizer

Status CheckOptions(const SyntheticOptions& options) {
  const auto check_share = [](const char* name, double value, double most) {
    if (value > 0 && value <= most) return Status::Ok();
    return InvalidArgument(
        Concat("synthetic model: ", name, ": wanted more than 0 and at most ", most, ", got ", value));
  };
  GLINT_RETURN_IF_ERROR(check_share("activity", options.activity, 0.9));
  GLINT_RETURN_IF_ERROR(check_share("hot_share", options.hot_share, 0.99));
  GLINT_RETURN_IF_ERROR(check_share("hot_fraction", options.hot_fraction, 0.99));
  if (options.hot_share < options.hot_fraction) {
    return InvalidArgument(Concat("synthetic model: hot_share: wanted at least hot_fraction ", options.hot_fraction,
                                  ", got ", options.hot_share));
  }
  if (options.vocab_size <= static_cast<uint32_t>(kEndOfText)) {
    return InvalidArgument(
        Concat("synthetic model: vocab_size: wanted at least ", kEndOfText + 1, ", got ", options.vocab_size));
  }
  return Status::Ok();
}

ModelConfig ConfigOf(const SyntheticOptions& options) {
  ModelConfig config;
  config.architecture = "opt";
  config.name = options.name;
  config.synthetic = true;
  config.layer_count = options.layer_count;
  config.hidden_size = options.hidden_size;
  config.ffn_size = options.ffn_size;
  config.head_count = options.head_count;
  config.vocab_size = options.vocab_size;
  config.embedding_size = options.hidden_size;
  config.context_max = options.context_max;
  config.position_offset = 2;
  config.tied_output = false;
  config.bos_id = kEndOfText;
  config.eos_ids = {kEndOfText};
  config.activity = options.activity;
  return config;
}

// min(kProbabilityMax, c * rank^-exponent) with a mean of `activity`, which sets c.
std::vector<double> CappedPowerLaw(uint32_t neuron_count, double activity, double exponent) {
  std::vector<double> shape(neuron_count);
  for (uint32_t i = 0; i < neuron_count; ++i) shape[i] = std::pow((i + 0.5) / neuron_count, -exponent);
  std::vector<double> law(neuron_count);
  double low = 0;
  double high = 1;
  for (int step = 0; step < 60; ++step) {
    const double factor = (low + high) / 2;
    double sum = 0;
    for (uint32_t i = 0; i < neuron_count; ++i) sum += law[i] = std::min(kProbabilityMax, factor * shape[i]);
    (sum < activity * neuron_count ? low : high) = factor;
  }
  return law;
}

// Writes one model. The scales are those of a model in which every block moves the residual stream by about as much:
// embeddings of 0.7 and positions of 0.2, matrices that keep the scale of what comes in, and blocks whose outputs
// shrink with the number of layers.
class Maker {
 public:
  Maker(const SyntheticOptions& options, const ModelConfig& config, const Progress& progress)
      : options_(options),
        config_(config),
        progress_(progress),
        random_(options.seed),
        weights_(options.seed ^ 0x5DEECE66DU),
        law_(ActivityLaw(config.ffn_size, options.activity, options.hot_share, options.hot_fraction)) {
    for (const TensorSpec& spec : TensorSpecs(config)) {
      if (!spec.is_vector) total_bytes_ += spec.rows * RowBytes(TypeOf(spec.name, options.type), spec.columns);
    }
    total_bytes_ += uint64_t{config.layer_count} * config.ffn_size * NeuronBytes();
  }

  Status Write(ModelWriter& writer) {
    for (const TensorSpec& spec : TensorSpecs(config_)) {
      GLINT_RETURN_IF_ERROR(spec.is_vector ? WriteVector(writer, spec) : WriteMatrix(writer, spec));
    }
    for (uint32_t layer = 0; layer < config_.layer_count; ++layer) {
      GLINT_RETURN_IF_ERROR(WriteFfn(writer, LayerIndex(layer)));
    }
    return Status::Ok();
  }

 private:
  uint64_t NeuronBytes() const { return 2 * RowBytes(options_.type, config_.hidden_size); }
  double BlockScale() const { return 1 / std::sqrt(2.0 * config_.layer_count); }

  void Advance(uint64_t bytes) {
    done_bytes_ += bytes;
    if (done_bytes_ - told_bytes_ < kProgressStepBytes && done_bytes_ != total_bytes_) return;
    told_bytes_ = done_bytes_;
    if (progress_) progress_(done_bytes_, total_bytes_);
  }

  Status WriteVector(ModelWriter& writer, const TensorSpec& spec) {
    std::vector<float> values(spec.columns, 0.0F);
    if (spec.name.ends_with("norm.weight")) {
      std::fill(values.begin(), values.end(), 1.0F);
    } else if (spec.name.ends_with("ffn_up.bias")) {
      FillUpBias(values);
    } else if (!spec.name.ends_with("norm.bias")) {
      weights_.Fill(values, 0.02F);
    }
    return writer.WriteVector(spec.name, values);
  }

  // An up row has independent elements of variance 1 / hidden_size, and the FFN's input is layer-normed without having
  // seen the row: their product is normal with variance 1 whatever the input. A bias of Phi^-1(p) therefore makes the
  // neuron active with probability p, and no calibration is needed.
  void FillUpBias(std::span<float> values) {
    std::vector<uint32_t> rank(values.size());
    std::iota(rank.begin(), rank.end(), 0U);
    for (size_t i = rank.size() - 1; i > 0; --i) std::swap(rank[i], rank[random_.Below(i + 1)]);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(NormalQuantile(law_[rank[i]]));
  }

  Status WriteMatrix(ModelWriter& writer, const TensorSpec& spec) {
    const WeightType type = TypeOf(spec.name, options_.type);
    const auto source = [&](uint32_t, std::span<float> row) {
      weights_.Fill(row, static_cast<float>(DeviationOf(spec)));
      Advance(RowBytes(type, spec.columns));
      return Status::Ok();
    };
    return writer.WriteMatrix(spec.name, type, spec.rows, spec.columns, source);
  }

  double DeviationOf(const TensorSpec& spec) const {
    if (spec.name == "token_embd.weight") return 0.7;
    if (spec.name == "position_embd.weight") return 0.2;
    const double unit = 1 / std::sqrt(static_cast<double>(spec.columns));
    if (spec.name.ends_with("attn_output.weight")) return 3 * BlockScale() * unit;
    if (spec.name == "output.weight")
      return 3 * unit;  // logits with a standard deviation of 3: neither flat nor certain
    return unit;
  }

  Status WriteFfn(ModelWriter& writer, LayerIndex layer) {
    const auto up_deviation = static_cast<float>(1 / std::sqrt(static_cast<double>(config_.hidden_size)));
    const auto down_deviation = static_cast<float>(BlockScale() / std::sqrt(config_.ffn_size * options_.activity));
    const auto source = [&](NeuronId, std::span<float>, std::span<float> up, std::span<float> down) {
      weights_.Fill(up, up_deviation);
      weights_.Fill(down, down_deviation);
      Advance(NeuronBytes());
      return Status::Ok();
    };
    return writer.WriteFfn(layer, source);
  }

  const SyntheticOptions& options_;
  const ModelConfig& config_;
  const Progress& progress_;
  SplitMix random_;
  RandomWeights weights_;
  const std::vector<double> law_;  // by rank
  uint64_t total_bytes_ = 0;
  uint64_t done_bytes_ = 0;
  uint64_t told_bytes_ = 0;
};

}  // namespace

Result<ModelDirectory> WriteSynthetic(const SyntheticOptions& options, std::span<const std::byte> tokenizer_section,
                                      const std::string& path, const Progress& progress) {
  GLINT_RETURN_IF_ERROR(CheckOptions(options));
  const ModelConfig config = ConfigOf(options);
  if (Status status = ValidateModelConfig(config); !status.ok()) {
    return InvalidArgument(Concat("synthetic model: ", status.message()));
  }
  GLINT_ASSIGN_OR_RETURN(ModelWriter writer, ModelWriter::Create(path, config, options.type));
  Maker maker(options, config, progress);
  GLINT_RETURN_IF_ERROR(maker.Write(writer));
  if (!tokenizer_section.empty()) GLINT_RETURN_IF_ERROR(writer.WriteTokenizer(tokenizer_section));
  return writer.Finish();
}

std::vector<double> ActivityLaw(uint32_t neuron_count, double activity, double hot_share, double hot_fraction) {
  // The cap takes from the hottest, so that the exponent has no closed form: a steeper law has a larger hot share.
  double flat = 0;
  double steep = 8;
  std::vector<double> law;
  for (int step = 0; step < 40; ++step) {
    const double exponent = (flat + steep) / 2;
    law = CappedPowerLaw(neuron_count, activity, exponent);
    const auto hot_count = static_cast<std::ptrdiff_t>(std::ceil(hot_fraction * neuron_count));
    const double hot = std::accumulate(law.begin(), law.begin() + hot_count, 0.0);
    (hot < hot_share * activity * neuron_count ? flat : steep) = exponent;
  }
  return law;
}

}  // namespace glint
