// Model files of any size with random weights and a stated activity, for tests of memory and I/O. Marked synthetic.
#ifndef GLINT_STORAGE_CHECKPOINT_SYNTHETIC_H_
#define GLINT_STORAGE_CHECKPOINT_SYNTHETIC_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "glint/base/status.h"
#include "storage/format/model_directory.h"
#include "storage/format/model_file.h"

namespace glint {

// The defaults make a file of 1.03 GB at f16.
struct SyntheticOptions {
  std::string name = "synthetic";
  uint32_t layer_count = 26;
  uint32_t hidden_size = 1280;
  uint32_t ffn_size = 5120;
  uint32_t head_count = 20;
  uint32_t vocab_size = 512;  // an OPT vocabulary's 50272 would be mostly embedding
  uint32_t context_max = 2048;
  WeightType type = WeightType::kF16;
  double activity = 0.05;      // mean share of neurons that are active for a token
  double hot_share = 0.8;      // this share of the activations ...
  double hot_fraction = 0.26;  // ... is made by this fraction of the neurons
  uint64_t seed = 1;
};

// Writes a model of OPT's architecture with an output matrix of its own (with a tied one, a random model only repeats
// its last token). The same options give the same bytes. kInvalidArgument names the option that cannot be.
Result<ModelDirectory> WriteSynthetic(const SyntheticOptions& options, std::span<const std::byte> tokenizer_section,
                                      const std::string& path, const Progress& progress);

// The probability of each of `neuron_count` neurons, hottest first: min(0.95, c * rank^-s), with s set so that
// `hot_fraction` of the neurons make `hot_share` of the activations (as far as the cap lets them) and c so that the
// mean is `activity`.
std::vector<double> ActivityLaw(uint32_t neuron_count, double activity, double hot_share, double hot_fraction);

}  // namespace glint

#endif  // GLINT_STORAGE_CHECKPOINT_SYNTHETIC_H_
