// Small JSON files of foreign origin, parsed with limits on size, depth and repeated keys.
#ifndef GLINT_STORAGE_CHECKPOINT_JSON_DOCUMENT_H_
#define GLINT_STORAGE_CHECKPOINT_JSON_DOCUMENT_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "glint/base/status.h"

namespace glint {

inline constexpr uint64_t kJsonFileBytesMax = 4 << 20;
inline constexpr int kJsonDepthMax = 16;

// Reads a whole file of at most `bytes_max`. kNotFound, kIoError, or kCorruptData where it is larger.
Result<std::string> ReadTextFile(const std::string& path, uint64_t bytes_max);

// Parses an object. kCorruptData names `file` and what is wrong: syntax with its offset, depth, a key that comes twice.
Result<nlohmann::json> ParseJsonObject(std::string_view text, std::string_view file);

}  // namespace glint

#endif  // GLINT_STORAGE_CHECKPOINT_JSON_DOCUMENT_H_
