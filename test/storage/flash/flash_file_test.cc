#include "storage/flash/flash_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include "test/storage/flash/random_file.h"

namespace glint {
namespace {

using test::Log;
using test::MakeBuffer;
using test::RandomFile;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : fd_(open(path.c_str(), O_RDONLY)) { GLINT_CHECK(fd_ >= 0); }
  ~Descriptor() { Close(); }
  int get() const { return fd_; }
  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

TEST(FlashFileTest, BufferedReadsBringTheBytesOfTheFile) {
  const RandomFile random(100'003);
  for (const DirectIo direct : {DirectIo::kAuto, DirectIo::kOff}) {
    Result<FlashFile> file = FlashFile::Open(random.path(), direct, {});
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ(file->bytes(), 100'003u);
    std::vector<std::byte> got(50'000);
    ASSERT_TRUE(file->ReadBuffered(50'003, got).ok());
    EXPECT_TRUE(random.Holds(50'003, got));
  }
}

TEST(FlashFileTest, DirectReadsBringTheBytesOfTheFile) {
  const RandomFile random(10'000);
  Log log;
  Result<FlashFile> file = FlashFile::Open(random.path(), DirectIo::kAuto, log.sink());
  ASSERT_TRUE(file.ok());
  if (!file->direct()) {
    EXPECT_THAT(log.lines, SizeIs(1));
    GTEST_SKIP() << log.lines[0];
  }
  EXPECT_THAT(log.lines, IsEmpty());
  EXPECT_GE(file->alignment(), 512u);
  EXPECT_LE(file->alignment(), kPageBytes);
  const AlignedBuffer got = MakeBuffer(4096);
  ASSERT_EQ(pread(file->fd(), got.data(), 4096, 4096), 4096);
  EXPECT_TRUE(random.Holds(4096, got.span()));
}

TEST(FlashFileTest, DirectOffIsBufferedWithoutAWord) {
  const RandomFile random(10'000);
  Log log;
  Result<FlashFile> file = FlashFile::Open(random.path(), DirectIo::kOff, log.sink());
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(file->direct());
  EXPECT_EQ(file->alignment(), 1u);
  EXPECT_EQ(file->fd(), file->buffered_fd());
  EXPECT_THAT(log.lines, IsEmpty());
}

TEST(FlashFileTest, AFileOfLessThanOneBlockCanBeOpened) {
  for (const uint64_t bytes : {0, 1, 511, 513}) {
    const RandomFile random(bytes);
    Result<FlashFile> file = FlashFile::Open(random.path(), DirectIo::kAuto, {});
    ASSERT_TRUE(file.ok()) << file.status().message();
    std::vector<std::byte> got(bytes);
    ASSERT_TRUE(file->ReadBuffered(0, got).ok());
    EXPECT_TRUE(random.Holds(0, got));
  }
}

TEST(FlashFileTest, ASliceIsItsOwnFileAlsoAfterTheCallerClosed) {
  const RandomFile random(100'000);
  Descriptor fd(random.path());
  Result<FlashFile> file = FlashFile::OpenFd(fd.get(), 8192, 50'000, DirectIo::kAuto, {});
  ASSERT_TRUE(file.ok()) << file.status().message();
  // The caller's own descriptor is as it was.
  EXPECT_EQ(fcntl(fd.get(), F_GETFL) & (O_DIRECT | O_NONBLOCK), 0);
  fd.Close();
  EXPECT_EQ(file->bytes(), 50'000u);
  EXPECT_EQ(file->base_offset(), 8192u);
  std::vector<std::byte> got(1000);
  ASSERT_TRUE(file->ReadBuffered(49'000, got).ok());
  EXPECT_TRUE(random.Holds(8192 + 49'000, got));
}

TEST(FlashFileTest, ASliceOfNoGivenLengthReachesToTheEnd) {
  const RandomFile random(100'000);
  const Descriptor fd(random.path());
  Result<FlashFile> file = FlashFile::OpenFd(fd.get(), 99'000, 0, DirectIo::kAuto, {});
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->bytes(), 1000u);
}

TEST(FlashFileTest, ASliceThatBeginsOffAlignmentIsBufferedAndSaysSo) {
  const RandomFile random(100'000);
  const Descriptor fd(random.path());
  Log log;
  Result<FlashFile> file = FlashFile::OpenFd(fd.get(), 8191, 1000, DirectIo::kAuto, log.sink());
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(file->direct());
  EXPECT_EQ(file->alignment(), 1u);
  ASSERT_THAT(log.lines, SizeIs(1));
  EXPECT_THAT(log.lines[0], HasSubstr("page cache"));
  std::vector<std::byte> got(1000);
  ASSERT_TRUE(file->ReadBuffered(0, got).ok());
  EXPECT_TRUE(random.Holds(8191, got));
}

TEST(FlashFileTest, BytesBehindASliceAreNotRead) {
  const RandomFile random(100'000);
  const Descriptor fd(random.path());
  Result<FlashFile> file = FlashFile::OpenFd(fd.get(), 4096, 1000, DirectIo::kAuto, {});
  ASSERT_TRUE(file.ok());
  std::vector<std::byte> got(101);
  const Status status = file->ReadBuffered(900, got);
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("fd "), HasSubstr("wanted 101 bytes"), HasSubstr("offset 900"),
                                      HasSubstr("got 100"), HasSubstr("ends there")));
  EXPECT_EQ(file->ReadBuffered(UINT64_MAX, got).code(), StatusCode::kIoError);
}

TEST(FlashFileTest, ASliceBeyondTheFileIsRefused) {
  const RandomFile random(1000);
  const Descriptor fd(random.path());
  const std::pair<uint64_t, uint64_t> slices[] = {{1001, 0}, {0, 1001}, {500, 501}, {500, UINT64_MAX}, {UINT64_MAX, 1}};
  for (const auto& [offset, bytes] : slices) {
    const Result<FlashFile> file = FlashFile::OpenFd(fd.get(), offset, bytes, DirectIo::kAuto, {});
    ASSERT_FALSE(file.ok());
    EXPECT_EQ(file.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(file.status().message(), AllOf(HasSubstr("1000 bytes"), HasSubstr(std::to_string(offset))));
  }
}

TEST(FlashFileTest, WhatIsNoFileIsRefusedByName) {
  const test::TempDir dir;
  EXPECT_EQ(FlashFile::Open(dir.Path("none"), DirectIo::kAuto, {}).status().code(), StatusCode::kNotFound);
  const Status folder = FlashFile::Open(dir.path(), DirectIo::kAuto, {}).status();
  EXPECT_EQ(folder.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(folder.message(), AllOf(HasSubstr(dir.path()), HasSubstr("directory")));
  // Nobody writes to the pipe: opening it must not wait.
  ASSERT_EQ(mkfifo(dir.Path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(FlashFile::Open(dir.Path("pipe"), DirectIo::kAuto, {}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(FlashFile::OpenFd(-1, 0, 0, DirectIo::kAuto, {}).status().code(), StatusCode::kIoError);
  const Descriptor folder_fd(dir.path());
  EXPECT_EQ(FlashFile::OpenFd(folder_fd.get(), 0, 0, DirectIo::kAuto, {}).status().code(),
            StatusCode::kInvalidArgument);
}

TEST(FlashFileTest, AFileThatShrankIsNamedWithWhatWasWantedAndGot) {
  const RandomFile random(100'000);
  Result<FlashFile> file = FlashFile::Open(random.path(), DirectIo::kOff, {});
  ASSERT_TRUE(file.ok());
  random.Truncate(60'000);
  std::vector<std::byte> got(20'000);
  const Status status = file->ReadBuffered(50'000, got);
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), AllOf(HasSubstr(random.path()), HasSubstr("wanted 20000 bytes at offset 50000"),
                                      HasSubstr("got 10000"), HasSubstr("shrunk")));
}

// The kernel's own files take no O_DIRECT.
TEST(FlashFileTest, AFileSystemWithoutDirectIoIsReadBufferedAndSaysSo) {
  Log log;
  Result<FlashFile> file = FlashFile::Open("/proc/version", DirectIo::kAuto, log.sink());
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_FALSE(file->direct());
  ASSERT_THAT(log.lines, SizeIs(1));
  EXPECT_THAT(log.lines[0], AllOf(HasSubstr("/proc/version"), HasSubstr("page cache"), HasSubstr("errno")));
}

// Newer kernels have direct I/O on tmpfs, older ones refuse it; both must work, and the second be said.
TEST(FlashFileTest, TmpfsIsReadEitherWay) {
  if (!std::filesystem::is_directory("/dev/shm")) GTEST_SKIP() << "no /dev/shm";
  const std::string path = "/dev/shm/glint-test-" + std::to_string(getpid());
  std::ofstream(path) << std::string(5000, 'x');
  Log log;
  Result<FlashFile> file = FlashFile::Open(path, DirectIo::kAuto, log.sink());
  std::filesystem::remove(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(log.lines.size(), file->direct() ? 0u : 1u);
  std::vector<std::byte> got(5000);
  ASSERT_TRUE(file->ReadBuffered(0, got).ok());
  EXPECT_THAT(got, testing::Each(std::byte{'x'}));
}

TEST(FlashFileTest, BufferedReadsLeaveNothingInThePageCache) {
  const RandomFile random(1'000'000);
  if (random.IsOnTmpfs()) GTEST_SKIP() << "tmpfs is page cache";
  Result<FlashFile> file = FlashFile::Open(random.path(), DirectIo::kAuto, {});
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(random.CachedPages(), 0u);
  std::vector<std::byte> got(500'001);
  ASSERT_TRUE(file->ReadBuffered(123'456, got).ok());
  EXPECT_EQ(random.CachedPages(), 0u);
}

TEST(FlashFileTest, DistrustedDirectIoIsNotUsedAndAlignmentStays) {
  const RandomFile random(10'000);
  Result<FlashFile> file = FlashFile::Open(random.path(), DirectIo::kAuto, {});
  ASSERT_TRUE(file.ok());
  const uint32_t alignment = file->alignment();
  file->DistrustDirect();
  EXPECT_FALSE(file->direct());
  EXPECT_EQ(file->fd(), file->buffered_fd());
  EXPECT_EQ(file->alignment(), alignment);
}

TEST(FlashFileTest, MovingHandsTheDescriptorsOn) {
  const RandomFile first(1000, 1);
  const RandomFile second(2000, 2);
  Result<FlashFile> a = FlashFile::Open(first.path(), DirectIo::kAuto, {});
  Result<FlashFile> b = FlashFile::Open(second.path(), DirectIo::kAuto, {});
  ASSERT_TRUE(a.ok() && b.ok());
  FlashFile file = std::move(a).value();
  file = std::move(b).value();
  std::vector<std::byte> got(2000);
  ASSERT_TRUE(file.ReadBuffered(0, got).ok());
  EXPECT_TRUE(second.Holds(0, got));
}

}  // namespace
}  // namespace glint
