// The model file as the reader sees it: one descriptor that bypasses the page cache where that works, one that does
// not.
#ifndef GLINT_STORAGE_FLASH_FLASH_FILE_H_
#define GLINT_STORAGE_FLASH_FLASH_FILE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "glint/base/log.h"
#include "glint/base/status.h"

namespace glint {

enum class DirectIo { kAuto, kOff };

// Offsets are from the start of the slice, which begins `base_offset` bytes into the underlying file (0 for a path; an
// Android asset starts inside its package). Movable, closes what it opened.
class FlashFile {
 public:
  // Opens for reading only. With kAuto, direct I/O is tried, and one block is compared with a buffered read; where it
  // is refused or differs, the file is read through the page cache and one line says why.
  static Result<FlashFile> Open(const std::string& path, DirectIo direct, const LogSink& log);
  // The same for bytes [offset, offset + bytes) of `fd`, which stays the caller's and may be closed after this call.
  // bytes == 0: up to the end of the file.
  static Result<FlashFile> OpenFd(int fd, uint64_t offset, uint64_t bytes, DirectIo direct, const LogSink& log);
  FlashFile(FlashFile&& other) noexcept;
  FlashFile& operator=(FlashFile&& other) noexcept;
  ~FlashFile();

  const std::string& name() const { return name_; }  // for messages
  uint64_t bytes() const { return bytes_; }          // of the slice, when opened
  bool direct() const { return direct_fd_ >= 0 && !direct_distrusted_; }
  // What read offsets, sizes and addresses must be multiples of: the device's own (at most kPageBytes) when direct,
  // else
  // 1. Const after open: it stays after DistrustDirect, so that reads planned before still hold.
  uint32_t alignment() const { return alignment_; }
  uint64_t base_offset() const { return base_offset_; }
  int fd() const { return direct() ? direct_fd_ : buffered_fd_; }
  int buffered_fd() const { return buffered_fd_; }

  // Reads exactly `into` through the page cache, and drops those pages from it again. For headers and second looks.
  // Errors name the file, the offset, the bytes wanted and got.
  Status ReadBuffered(uint64_t offset, std::span<std::byte> into) const;
  // Gives up direct I/O for reads that start from now on; the descriptor stays open for those in flight.
  void DistrustDirect();
  // Drops the pages that hold the stretch from the page cache, after a buffered read of it.
  void DropPages(uint64_t offset, uint64_t bytes) const;
  // Returns the IoError of a read that failed, by its reason or its errno.
  Status ReadError(uint64_t offset, uint64_t wanted_bytes, uint64_t got_bytes, std::string_view why) const;
  Status ReadError(uint64_t offset, uint64_t wanted_bytes, uint64_t got_bytes, int error) const;

 private:
  FlashFile() = default;
  // Measures the file behind buffered_fd_ and tries direct I/O through `path`. bytes == 0: up to the end.
  Status Init(const std::string& path, uint64_t bytes, DirectIo direct, const LogSink& log);

  std::string name_;
  uint64_t base_offset_ = 0;
  uint64_t bytes_ = 0;
  int buffered_fd_ = -1;
  int direct_fd_ = -1;
  uint32_t alignment_ = 1;
  bool direct_distrusted_ = false;
};

}  // namespace glint

#endif  // GLINT_STORAGE_FLASH_FLASH_FILE_H_
