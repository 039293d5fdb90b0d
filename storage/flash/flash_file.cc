#include "storage/flash/flash_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "glint/base/text.h"
#include "glint/base/units.h"
#include "storage/flash/aligned_buffer.h"

namespace glint {

namespace {

// One read call never asks for more; the kernel itself stops below 2 GiB.
constexpr uint64_t kReadCallBytesMax = 1 * kGiB;
// Interrupted system calls are tried again this often before they count as failed.
constexpr int kInterruptsMax = 1000;

void CloseIfOpen(int fd) {
  if (fd >= 0) close(fd);
}

int OpenReadOnly(const char* path, int flags) {
  int fd = -1;
  for (int i = 0; i < kInterruptsMax; ++i) {
    fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd >= 0 || errno != EINTR) break;
  }
  return fd;
}

// Returns bytes read, 0 at the end of the file, or -errno.
int64_t ReadOnce(int fd, std::byte* into, uint64_t bytes, uint64_t offset) {
  for (int i = 0; i < kInterruptsMax; ++i) {
    const ssize_t got = pread(fd, into, std::min(bytes, kReadCallBytesMax), static_cast<off_t>(offset));
    if (got >= 0) return got;
    if (errno != EINTR) return -errno;
  }
  return -EINTR;
}

struct Alignments {
  std::array<uint32_t, 2> candidates = {};  // to try in this order
  uint32_t count = 0;
};

// What the kernel says that direct reads must be multiples of; where it says nothing, the two sizes that devices have.
// None: the file system has no direct I/O for this file.
Alignments AlignmentCandidates([[maybe_unused]] int fd) {
  // <sys/stat.h> brings the kernel's own struct statx where the C library and the kernel headers are new enough.
#ifdef STATX_DIOALIGN
  struct statx about = {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &about) == 0 && (about.stx_mask & STATX_DIOALIGN) != 0) {
    if (about.stx_dio_offset_align == 0) return {};
    return {.candidates = {std::max(about.stx_dio_mem_align, about.stx_dio_offset_align)}, .count = 1};
  }
#endif
  return {.candidates = {512, 4096}, .count = 2};
}

// Reads one block at `offset` directly and through the page cache. Returns an empty string where both are the same,
// else what is wrong.
std::string CompareOneBlock(int direct_fd, int buffered_fd, uint64_t offset, uint32_t block_bytes) {
  Result<AlignedBuffer> memory = AlignedBuffer::Allocate(2 * kPageBytes);
  if (!memory.ok()) return memory.status().message();
  std::byte* direct = memory->data();
  std::byte* buffered = direct + kPageBytes;
  const int64_t direct_bytes = ReadOnce(direct_fd, direct, block_bytes, offset);
  if (direct_bytes < 0) {
    return ErrnoStatus(Concat("a direct read of ", block_bytes, " bytes is refused"), static_cast<int>(-direct_bytes))
        .message();
  }
  const int64_t buffered_bytes = ReadOnce(buffered_fd, buffered, block_bytes, offset);
  if (direct_bytes != buffered_bytes || std::memcmp(direct, buffered, static_cast<size_t>(direct_bytes)) != 0) {
    return "a direct read brings other bytes than one through the page cache";
  }
  return {};
}

bool IsSameFile(int a, int b) {
  struct stat about_a = {};
  struct stat about_b = {};
  return fstat(a, &about_a) == 0 && fstat(b, &about_b) == 0 && about_a.st_dev == about_b.st_dev &&
         about_a.st_ino == about_b.st_ino;
}

struct DirectTrial {
  int fd = -1;  // -1: refused, and `why` says so
  uint32_t alignment = 1;
  std::string why;
};

DirectTrial TryDirect([[maybe_unused]] const char* path, [[maybe_unused]] int buffered_fd,
                      [[maybe_unused]] uint64_t base_offset) {
  DirectTrial trial;
#ifdef O_DIRECT
  const int fd = OpenReadOnly(path, O_DIRECT);
  if (fd < 0) {
    trial.why = ErrnoStatus("the file cannot be opened for it", errno).message();
    return trial;
  }
  if (!IsSameFile(fd, buffered_fd)) {
    trial.why = "the path names another file by now";
    close(fd);
    return trial;
  }
  const Alignments alignments = AlignmentCandidates(fd);
  trial.why = "the file system has none for this file";
  for (uint32_t i = 0; i < alignments.count; ++i) {
    const uint32_t alignment = alignments.candidates[i];
    if (alignment > kPageBytes || !std::has_single_bit(alignment)) {
      trial.why = Concat("the device wants an alignment of ", alignment, " bytes, more than ", kPageBytes);
    } else if (base_offset % alignment != 0) {
      trial.why = Concat("the model begins ", base_offset, " bytes into the file, not a multiple of ", alignment);
    } else {
      trial.why = CompareOneBlock(fd, buffered_fd, base_offset, alignment);
      if (trial.why.empty()) {
        trial.fd = fd;
        trial.alignment = alignment;
        return trial;
      }
    }
  }
  close(fd);
#else
  trial.why = "this system has none";
#endif
  return trial;
}

}  // namespace

Result<FlashFile> FlashFile::Open(const std::string& path, DirectIo direct, const LogSink& log) {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  const int fd = OpenReadOnly(path.c_str(), O_NONBLOCK);
  if (fd < 0) return ErrnoStatus(Concat("cannot open ", Quote(path)), errno);
  FlashFile file;
  file.name_ = path;
  file.buffered_fd_ = fd;
  GLINT_RETURN_IF_ERROR(file.Init(path, /*bytes=*/0, direct, log));
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
    return ErrnoStatus(Concat("cannot make ", Quote(path), " blocking"), errno);
  }
  return file;
}

Result<FlashFile> FlashFile::OpenFd(int fd, uint64_t offset, uint64_t bytes, DirectIo direct, const LogSink& log) {
  FlashFile file;
  file.name_ = Concat("fd ", fd);
  file.base_offset_ = offset;
  // Opened anew where the system allows, so that flags and advice are not the caller's too. The caller's descriptor
  // comes first: what is not even open must not be found by its number.
  file.buffered_fd_ = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (file.buffered_fd_ < 0) return ErrnoStatus(Concat("cannot use fd ", fd), errno);
  const std::string path = Concat("/proc/self/fd/", file.buffered_fd_);
  struct stat about = {};
  if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode)) {
    if (const int own = OpenReadOnly(path.c_str(), 0); own >= 0) {
      close(std::exchange(file.buffered_fd_, own));
    }
  }
  GLINT_RETURN_IF_ERROR(file.Init(Concat("/proc/self/fd/", file.buffered_fd_), bytes, direct, log));
  return file;
}

Status FlashFile::Init(const std::string& path, uint64_t bytes, DirectIo direct, const LogSink& log) {
  struct stat about = {};
  if (fstat(buffered_fd_, &about) != 0) return ErrnoStatus(Concat("cannot look at ", Quote(name_)), errno);
  if (!S_ISREG(about.st_mode)) {
    return InvalidArgument(
        Concat(Quote(name_), " is ", S_ISDIR(about.st_mode) ? "a directory" : "a device or a pipe", ", wanted a file"));
  }
  const uint64_t file_bytes = static_cast<uint64_t>(about.st_size);
  if (base_offset_ > file_bytes || bytes > file_bytes - base_offset_) {
    return InvalidArgument(Concat(Quote(name_), " has ", file_bytes, " bytes, wanted ", bytes, " at offset ",
                                  base_offset_, "; check the offset and the length that were passed"));
  }
  bytes_ = bytes != 0 ? bytes : file_bytes - base_offset_;
#ifdef POSIX_FADV_RANDOM
  // Reading ahead would fill the page cache with what nobody asked for. It is advice: a refusal changes no answer.
  (void)posix_fadvise(buffered_fd_, 0, 0, POSIX_FADV_RANDOM);
#endif
  if (direct == DirectIo::kOff) return Status::Ok();
  DirectTrial trial = TryDirect(path.c_str(), buffered_fd_, base_offset_);
  direct_fd_ = trial.fd;
  alignment_ = trial.alignment;
  if (direct_fd_ < 0 && log) {
    log(Concat(Quote(name_), " is read through the page cache, without direct I/O: ", trial.why));
  }
  DropPages(0, std::min<uint64_t>(bytes_, kPageBytes));
  return Status::Ok();
}

FlashFile::FlashFile(FlashFile&& other) noexcept
    : name_(std::move(other.name_)),
      base_offset_(other.base_offset_),
      bytes_(other.bytes_),
      buffered_fd_(std::exchange(other.buffered_fd_, -1)),
      direct_fd_(std::exchange(other.direct_fd_, -1)),
      alignment_(other.alignment_),
      direct_distrusted_(other.direct_distrusted_) {}

FlashFile& FlashFile::operator=(FlashFile&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(base_offset_, other.base_offset_);
  std::swap(bytes_, other.bytes_);
  std::swap(buffered_fd_, other.buffered_fd_);
  std::swap(direct_fd_, other.direct_fd_);
  std::swap(alignment_, other.alignment_);
  std::swap(direct_distrusted_, other.direct_distrusted_);
  return *this;
}

FlashFile::~FlashFile() {
  CloseIfOpen(buffered_fd_);
  CloseIfOpen(direct_fd_);
}

Status FlashFile::ReadBuffered(uint64_t offset, std::span<std::byte> into) const {
  // Bytes behind a slice's end belong to somebody else.
  const uint64_t there = offset < bytes_ ? bytes_ - offset : 0;
  if (into.size() > there) return ReadError(offset, into.size(), there, "the file ends there");
  uint64_t done = 0;
  while (done < into.size()) {
    const int64_t got = ReadOnce(buffered_fd_, into.data() + done, into.size() - done, base_offset_ + offset + done);
    if (got < 0) return ReadError(offset, into.size(), done, static_cast<int>(-got));
    if (got == 0) return ReadError(offset, into.size(), done, "the file has shrunk since it was opened");
    done += static_cast<uint64_t>(got);
  }
  DropPages(offset, into.size());
  return Status::Ok();
}

void FlashFile::DropPages([[maybe_unused]] uint64_t offset, [[maybe_unused]] uint64_t bytes) const {
#ifdef POSIX_FADV_DONTNEED
  // Pages that are only partly inside would stay, so the stretch is widened to whole pages.
  static const uint64_t page_bytes = static_cast<uint64_t>(std::max(sysconf(_SC_PAGESIZE), 4096L));
  const uint64_t start = AlignDown(base_offset_ + offset, page_bytes);
  const uint64_t end = AlignUp(base_offset_ + offset + bytes, page_bytes);
  (void)posix_fadvise(buffered_fd_, static_cast<off_t>(start), static_cast<off_t>(end - start), POSIX_FADV_DONTNEED);
#endif
}

void FlashFile::DistrustDirect() { direct_distrusted_ = true; }

Status FlashFile::ReadError(uint64_t offset, uint64_t wanted_bytes, uint64_t got_bytes, std::string_view why) const {
  return IoError(Concat("cannot read ", Quote(name_), ": wanted ", wanted_bytes, " bytes at offset ", offset, ", got ",
                        got_bytes, ": ", why));
}

Status FlashFile::ReadError(uint64_t offset, uint64_t wanted_bytes, uint64_t got_bytes, int error) const {
  return IoError(ErrnoStatus(Concat("cannot read ", Quote(name_), ": wanted ", wanted_bytes, " bytes at offset ",
                                    offset, ", got ", got_bytes),
                             error)
                     .message());
}

}  // namespace glint
