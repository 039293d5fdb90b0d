#include "storage/format/model_config.h"

#include <cmath>

#include "glint/base/text.h"

namespace glint {
namespace {

Status CheckBetween(std::string_view key, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return Status::Ok();
  return CorruptData(Concat("config key '", key, "': wanted ", least, " to ", most, ", got ", value));
}

// Names are printed by every command; what cannot be shown has no place in them.
Status CheckName(std::string_view key, std::string_view text) {
  if (text.size() > kNameBytesMax) {
    return CorruptData(Concat("config key '", key, "': wanted at most ", kNameBytesMax, " bytes, got ", text.size()));
  }
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      return CorruptData(Concat("config key '", key, "': wanted no control characters, got ", Quote(text)));
    }
  }
  return Status::Ok();
}

}  // namespace

Status ValidateModelConfig(const ModelConfig& config) {
  GLINT_RETURN_IF_ERROR(CheckName("architecture", config.architecture));
  if (config.architecture.empty()) return CorruptData("config key 'architecture': wanted a name, got none");
  GLINT_RETURN_IF_ERROR(CheckName("name", config.name));
  GLINT_RETURN_IF_ERROR(CheckBetween("layer_count", config.layer_count, 1, kLayerCountMax));
  GLINT_RETURN_IF_ERROR(CheckBetween("hidden_size", config.hidden_size, 1, kHiddenSizeMax));
  GLINT_RETURN_IF_ERROR(CheckBetween("ffn_size", config.ffn_size, 1, kFfnSizeMax));
  GLINT_RETURN_IF_ERROR(CheckBetween("head_count", config.head_count, 1, config.hidden_size));
  if (config.hidden_size % config.head_count != 0) {
    return CorruptData(Concat("config key 'head_count': wanted a divisor of hidden_size ", config.hidden_size, ", got ",
                              config.head_count));
  }
  GLINT_RETURN_IF_ERROR(CheckBetween("vocab_size", config.vocab_size, 1, kVocabSizeMax));
  GLINT_RETURN_IF_ERROR(CheckBetween("embedding_size", config.embedding_size, 1, config.hidden_size));
  GLINT_RETURN_IF_ERROR(CheckBetween("context_max", config.context_max, 1, kContextMax));
  GLINT_RETURN_IF_ERROR(CheckBetween("position_offset", config.position_offset, 0, kPositionOffsetMax));
  if (!(config.norm_epsilon > 0 && config.norm_epsilon <= 1)) {  // false for NaN too
    return CorruptData(
        Concat("config key 'norm_epsilon': wanted more than 0 and at most 1, got ", config.norm_epsilon));
  }
  GLINT_RETURN_IF_ERROR(CheckBetween("bos_id", config.bos_id, -1, int64_t{config.vocab_size} - 1));
  GLINT_RETURN_IF_ERROR(CheckBetween("eos_ids (count)", static_cast<int64_t>(config.eos_ids.size()), 0, kEosIdsMax));
  for (const TokenId id : config.eos_ids) {
    GLINT_RETURN_IF_ERROR(CheckBetween("eos_ids", id, 0, int64_t{config.vocab_size} - 1));
  }
  if (!(config.activity >= 0 && config.activity <= 1)) {
    return CorruptData(Concat("config key 'activity': wanted 0 to 1, got ", config.activity));
  }
  return Status::Ok();
}

}  // namespace glint
