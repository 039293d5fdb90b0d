#include "storage/format/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "glint/base/check.h"
#include "glint/base/text.h"
#include "glint/base/units.h"

namespace glint {
namespace {

constexpr size_t kBufferBytes = 1 * kMiB;
constexpr int kOpenAttemptsMax = 8;

Status CheckTarget(const std::string& path) {
  if (path.empty()) return InvalidArgument("cannot write '': wanted a file's name, got none");
  struct stat target {};
  if (stat(path.c_str(), &target) != 0) {
    return errno == ENOENT ? Status::Ok() : ErrnoStatus(Concat("cannot write ", Quote(path)), errno);
  }
  if (!S_ISREG(target.st_mode)) {
    return InvalidArgument(Concat("cannot write ", Quote(path), ": wanted a file or nothing there, got ",
                                  S_ISDIR(target.st_mode) ? "a folder" : "a device or the like"));
  }
  if (access(path.c_str(), W_OK) != 0) return ErrnoStatus(Concat("cannot write ", Quote(path)), errno);
  return Status::Ok();
}

// Returns a descriptor of the temporary file, empty and locked. The lock keeps a second writer from writing into the
// same file; it ends with its process, so that what a killed one left is taken over.
Result<int> OpenTemporary(const std::string& path) {
  const std::string what = Concat("cannot write ", Quote(path));
  for (int attempt = 0; attempt < kOpenAttemptsMax; ++attempt) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) return ErrnoStatus(what, errno);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      close(fd);
      return IoError(Concat(what, ": another writer is at work on it"));
    }
    // The writer that held the lock may have renamed or removed the file in the meantime; then this is not it any more.
    struct stat opened {};
    struct stat named {};
    const bool same = fstat(fd, &opened) == 0 && lstat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
                      opened.st_ino == named.st_ino;
    if (same && ftruncate(fd, 0) == 0) return fd;
    const int error = errno;
    close(fd);
    if (same) return ErrnoStatus(what, error);
  }
  return IoError(Concat(what, ": another writer is at work on it"));
}

Status SyncFolderOf(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const std::string folder = parent.empty() ? std::string(1, '.') : parent.string();
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(Concat("cannot open the folder ", Quote(folder)), errno);
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  // Some file systems cannot sync a folder; they say so with EINVAL.
  return error == 0 || error == EINVAL ? Status::Ok() : ErrnoStatus(Concat("cannot sync ", Quote(folder)), error);
}

}  // namespace

Result<AtomicFile> AtomicFile::Create(const std::string& path) {
  GLINT_RETURN_IF_ERROR(CheckTarget(path));
  std::string temporary_path = path + ".unfinished";
  GLINT_ASSIGN_OR_RETURN(const int fd, OpenTemporary(temporary_path));
  return AtomicFile(path, std::move(temporary_path), fd);
}

AtomicFile::AtomicFile(std::string path, std::string temporary_path, int fd)
    : path_(std::move(path)), temporary_path_(std::move(temporary_path)), fd_(fd) {
  buffer_.reserve(kBufferBytes);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_path_(std::exchange(other.temporary_path_, {})),
      fd_(std::exchange(other.fd_, -1)),
      flushed_bytes_(other.flushed_bytes_),
      buffer_(std::move(other.buffer_)) {}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  if (!temporary_path_.empty()) unlink(temporary_path_.c_str());
  close(fd_);
}

Status AtomicFile::WriteAt(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      return ErrnoStatus(
          Concat("cannot write ", Quote(path_), ": at offset ", offset, " wanted ", bytes.size(), " bytes written"),
          written < 0 ? errno : ENOSPC);
    }
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return Status::Ok();
}

Status AtomicFile::Flush() {
  GLINT_RETURN_IF_ERROR(WriteAt(flushed_bytes_, buffer_));
  flushed_bytes_ += buffer_.size();
  buffer_.clear();
  return Status::Ok();
}

Status AtomicFile::Append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (buffer_.size() == kBufferBytes) GLINT_RETURN_IF_ERROR(Flush());
    const size_t count = std::min(bytes.size(), kBufferBytes - buffer_.size());
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
    bytes = bytes.subspan(count);
  }
  return Status::Ok();
}

Status AtomicFile::PadTo(uint64_t alignment) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  uint64_t left = AlignUp(bytes(), alignment) - bytes();
  while (left > 0) {
    const uint64_t count = std::min<uint64_t>(left, kZeros.size());
    GLINT_RETURN_IF_ERROR(Append(std::span(kZeros).first(count)));
    left -= count;
  }
  return Status::Ok();
}

Status AtomicFile::Overwrite(uint64_t offset, std::span<const std::byte> bytes) {
  GLINT_RETURN_IF_ERROR(Flush());
  GLINT_CHECK(offset <= flushed_bytes_ && bytes.size() <= flushed_bytes_ - offset);
  return WriteAt(offset, bytes);
}

Status AtomicFile::Commit() {
  GLINT_RETURN_IF_ERROR(Flush());
  if (fsync(fd_) != 0) return ErrnoStatus(Concat("cannot sync ", Quote(path_)), errno);
  if (rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    return ErrnoStatus(Concat("cannot rename ", Quote(temporary_path_), " to ", Quote(path_)), errno);
  }
  temporary_path_.clear();
  return SyncFolderOf(path_);
}

}  // namespace glint
