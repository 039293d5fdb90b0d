// A file of random bytes, and what a test asks about it.
#ifndef GLINT_TEST_STORAGE_FLASH_RANDOM_FILE_H_
#define GLINT_TEST_STORAGE_FLASH_RANDOM_FILE_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "glint/base/check.h"
#include "glint/base/log.h"
#include "storage/flash/aligned_buffer.h"
#include "storage/flash/flash_file.h"
#include "test/support/temp_dir.h"

namespace glint::test {

class RandomFile {
 public:
  explicit RandomFile(uint64_t bytes, uint64_t seed = 7) : path_(dir_.Path("random.bin")), content_(bytes) {
    std::mt19937_64 random(seed);
    for (std::byte& b : content_) b = static_cast<std::byte>(random());
    const int fd = open(path_.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    GLINT_CHECK(fd >= 0);
    GLINT_CHECK(write(fd, content_.data(), bytes) == static_cast<ssize_t>(bytes));
    // Dirty pages cannot be dropped from the page cache.
    GLINT_CHECK(fsync(fd) == 0);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
  }

  const std::string& path() const { return path_; }
  const std::vector<std::byte>& content() const { return content_; }
  uint64_t bytes() const { return content_.size(); }

  bool Holds(uint64_t offset, std::span<const std::byte> got) const {
    GLINT_CHECK(offset + got.size() <= content_.size());
    return std::equal(got.begin(), got.end(), content_.begin() + static_cast<ptrdiff_t>(offset));
  }

  void Truncate(uint64_t bytes) const { GLINT_CHECK(truncate(path_.c_str(), static_cast<off_t>(bytes)) == 0); }

  // Whether the file lives in the page cache alone, which then cannot be emptied.
  bool IsOnTmpfs() const {
    constexpr long kTmpfsMagic = 0x01021994;
    struct statfs about = {};
    GLINT_CHECK(statfs(path_.c_str(), &about) == 0);
    return static_cast<long>(about.f_type) == kTmpfsMagic;
  }

  // Pages of the file in the page cache.
  uint64_t CachedPages() const {
    const int fd = open(path_.c_str(), O_RDONLY);
    GLINT_CHECK(fd >= 0);
    void* map = mmap(nullptr, content_.size(), PROT_READ, MAP_SHARED, fd, 0);
    GLINT_CHECK(map != MAP_FAILED);
    std::vector<unsigned char> resident(content_.size() / static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) + 1);
    GLINT_CHECK(mincore(map, content_.size(), resident.data()) == 0);
    munmap(map, content_.size());
    close(fd);
    uint64_t count = 0;
    for (const unsigned char page : resident) count += page & 1u;
    return count;
  }

 private:
  TempDir dir_;
  std::string path_;
  std::vector<std::byte> content_;
};

// Keeps the lines that were logged.
struct Log {
  std::vector<std::string> lines;
  LogSink sink() {
    return [this](std::string_view line) { lines.emplace_back(line); };
  }
};

inline AlignedBuffer MakeBuffer(uint64_t bytes) {
  Result<AlignedBuffer> buffer = AlignedBuffer::Allocate(bytes);
  GLINT_CHECK(buffer.ok());
  return std::move(buffer).value();
}

}  // namespace glint::test

#endif  // GLINT_TEST_STORAGE_FLASH_RANDOM_FILE_H_
