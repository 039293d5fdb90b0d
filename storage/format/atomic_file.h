// A file that appears under its name whole or not at all.
#ifndef GLINT_STORAGE_FORMAT_ATOMIC_FILE_H_
#define GLINT_STORAGE_FORMAT_ATOMIC_FILE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "glint/base/status.h"

namespace glint {

// Written front to back through a buffer of 1 MiB to `path`.unfinished, which is removed again unless Commit succeeds.
// What a killed process leaves of that name is written over by the next one that writes to `path`.
class AtomicFile {
 public:
  // Refuses a target that could not be replaced (a folder, a device, a file that may not be written) and one that
  // another AtomicFile, of any process, is at work on.
  static Result<AtomicFile> Create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  const std::string& path() const { return path_; }
  uint64_t bytes() const { return flushed_bytes_ + buffer_.size(); }  // written so far

  Status Append(std::span<const std::byte> bytes);
  Status PadTo(uint64_t alignment);  // with zeros
  // Writes over bytes that were appended before. REQUIRES: offset + bytes.size() <= bytes().
  Status Overwrite(uint64_t offset, std::span<const std::byte> bytes);
  // Syncs the file, renames it to `path` and syncs the folder.
  Status Commit();

 private:
  AtomicFile(std::string path, std::string temporary_path, int fd);
  Status Flush();
  Status WriteAt(uint64_t offset, std::span<const std::byte> bytes);

  std::string path_;
  std::string temporary_path_;  // empty after Commit
  int fd_ = -1;
  uint64_t flushed_bytes_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace glint

#endif  // GLINT_STORAGE_FORMAT_ATOMIC_FILE_H_
