// Small text files of foreign origin.
#ifndef GLINT_STORAGE_CHECKPOINT_TEXT_FILE_H_
#define GLINT_STORAGE_CHECKPOINT_TEXT_FILE_H_

#include <cstdint>
#include <string>

#include "glint/base/status.h"

namespace glint {

// More than any config.json or shard index has.
inline constexpr uint64_t kJsonFileBytesMax = 4 << 20;

// True where there is something of that name, if only a link that leads nowhere: opening it then says what is wrong.
bool PathExists(const std::string& path);

// Reads a whole file. kNotFound, kIoError, kInvalidArgument where it is no file, kCorruptData where it is larger than
// `bytes_max`.
Result<std::string> ReadTextFile(const std::string& path, uint64_t bytes_max);

}  // namespace glint

#endif  // GLINT_STORAGE_CHECKPOINT_TEXT_FILE_H_
