#include "storage/checkpoint/text_file.h"

#include <filesystem>
#include <span>

#include "glint/base/text.h"
#include "storage/flash/flash_file.h"

namespace glint {

bool PathExists(const std::string& path) {
  std::error_code error;
  return std::filesystem::symlink_status(path, error).type() != std::filesystem::file_type::not_found;
}

Result<std::string> ReadTextFile(const std::string& path, uint64_t bytes_max) {
  GLINT_ASSIGN_OR_RETURN(const FlashFile file, FlashFile::Open(path, DirectIo::kOff, {}));
  if (file.bytes() > bytes_max) {
    return CorruptData(Concat(Quote(path), ": wanted at most ", bytes_max, " bytes, got ", file.bytes()));
  }
  std::string text(file.bytes(), '\0');
  if (!text.empty()) {
    GLINT_RETURN_IF_ERROR(file.ReadBuffered(0, std::as_writable_bytes(std::span(text))));
  }
  return text;
}

}  // namespace glint
