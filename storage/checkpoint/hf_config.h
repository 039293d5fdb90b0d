// config.json and generation_config.json of a Hugging Face OPT checkpoint.
#ifndef GLINT_STORAGE_CHECKPOINT_HF_CONFIG_H_
#define GLINT_STORAGE_CHECKPOINT_HF_CONFIG_H_

#include <string>
#include <string_view>

#include "glint/base/status.h"
#include "storage/format/model_config.h"

namespace glint {

struct HfConfig {
  ModelConfig config;               // valid; its name is empty
  bool has_biases = true;           // of the linear layers (enable_bias)
  bool has_norm_parameters = true;  // layer_norm_elementwise_affine
};

// Keys that are absent have the defaults of transformers' OPTConfig. `generation_config_json` may be empty; its
// eos_token_id goes before config.json's. kUnsupported, by name, for another model_type, activation or head size;
// kCorruptData with the key, wanted and got.
Result<HfConfig> ParseHfConfig(std::string_view config_json, std::string_view generation_config_json,
                               std::string_view config_file, std::string_view generation_config_file);

// The same from the files of `folder`. The model's name is the folder's. Says what is wrong where `folder` is no
// checkpoint: absent, a GGUF file, a folder without config.json.
Result<HfConfig> ReadHfConfig(const std::string& folder);

}  // namespace glint

#endif  // GLINT_STORAGE_CHECKPOINT_HF_CONFIG_H_
