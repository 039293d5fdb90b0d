#include "storage/flash/flash_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "glint/base/units.h"
#include "test/storage/flash/random_file.h"
#include "test/support/faulty_engine.h"

namespace glint {
namespace {

using test::Fault;
using test::FaultyEngineOptions;
using test::Log;
using test::MakeBuffer;
using test::RandomFile;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kFileBytes = 300'003;

class FlashReaderTest : public testing::Test {
 protected:
  std::unique_ptr<FlashReader> Faulty(FaultyEngineOptions options, DirectIo direct = DirectIo::kOff) {
    Result<FlashFile> file = FlashFile::Open(random_.path(), direct, {});
    GLINT_CHECK(file.ok());
    return FlashReader::Create(std::move(file).value(), test::MakeFaultyEngine(std::move(options)), log_.sink());
  }

  // Null where this machine's temporary files take no direct I/O.
  std::unique_ptr<FlashReader> FaultyDirectOrNull(FaultyEngineOptions options) {
    std::unique_ptr<FlashReader> reader = Faulty(std::move(options), DirectIo::kAuto);
    return reader->file().direct() ? std::move(reader) : nullptr;
  }

  // One read of 4096 bytes at `offset` into the buffer's place of the same offset.
  FlashRead At(uint64_t offset, uint32_t tag = 0) const {
    return {.offset = offset, .into = buffer_.data() + offset, .bytes = 4096, .tag = tag};
  }

  bool Arrived(const FlashRead& read) const {
    const uint64_t there = std::min<uint64_t>(read.bytes, kFileBytes - read.offset);
    return random_.Holds(read.offset, {read.into, there});
  }

  const RandomFile random_ = RandomFile(kFileBytes);
  const AlignedBuffer buffer_ = MakeBuffer(AlignUp(kFileBytes, kPageBytes));
  Log log_;
};

#define SKIP_WITHOUT_DIRECT_IO(reader) \
  if ((reader) == nullptr) GTEST_SKIP() << "no direct I/O on this machine's temporary files"

TEST_F(FlashReaderTest, EveryReadArrivesOnceThroughEveryKindOfFault) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    const std::unique_ptr<FlashReader> reader = Faulty({.seed = seed,
                                                        .queue_depth_max = 1 + static_cast<uint32_t>(random() % 20),
                                                        .short_read = 0.3 * static_cast<double>(random() % 3),
                                                        .again = 0.3 * static_cast<double>(random() % 2),
                                                        .interrupted = 0.3 * static_cast<double>(random() % 2)},
                                                       seed % 2 == 0 ? DirectIo::kAuto : DirectIo::kOff);
    const uint32_t alignment = reader->alignment();
    std::vector<FlashRead> reads;
    uint64_t offset = 0;
    while (offset < kFileBytes) {
      uint32_t bytes = static_cast<uint32_t>(AlignUp(1 + random() % 8000, alignment));
      bytes = static_cast<uint32_t>(std::min<uint64_t>(bytes, AlignUp(kFileBytes - offset, alignment)));
      reads.push_back({.offset = offset,
                       .into = buffer_.data() + offset,
                       .bytes = bytes,
                       .tag = static_cast<uint32_t>(reads.size())});
      offset += bytes;
    }
    std::shuffle(reads.begin(), reads.end(), random);
    const Status status = reader->ReadAll(reads);
    ASSERT_TRUE(status.ok()) << "seed " << seed << ": " << status.message();
    ASSERT_EQ(reader->in_flight(), 0u);
    ASSERT_TRUE(random_.Holds(0, buffer_.span().first(kFileBytes))) << "seed " << seed;
    ASSERT_GE(reader->stats().flash_reads, reads.size());
  }
}

TEST_F(FlashReaderTest, TagsComeBackOnceAndTheirBytesAreThere) {
  for (const bool wait : {true, false}) {
    const std::unique_ptr<FlashReader> reader = Faulty({.queue_depth_max = 8, .short_read = 0.5, .again = 0.2});
    std::vector<FlashRead> reads;
    for (uint32_t i = 0; i < 8; ++i) reads.push_back(At(i * 8192, 100 + i));
    ASSERT_TRUE(reader->Submit(reads).ok());
    EXPECT_EQ(reader->in_flight(), 8u);
    std::set<uint32_t> ended;
    std::array<uint32_t, 3> tags;
    while (reader->in_flight() > 0) {
      const Result<uint32_t> count = reader->Reap(tags, wait);
      ASSERT_TRUE(count.ok());
      EXPECT_TRUE(!wait || *count > 0);
      for (uint32_t i = 0; i < *count; ++i) {
        EXPECT_TRUE(ended.insert(tags[i]).second);
        EXPECT_TRUE(Arrived(reads[tags[i] - 100]));
      }
      EXPECT_EQ(reader->in_flight() + ended.size(), 8u);
    }
  }
}

TEST_F(FlashReaderTest, AnIoErrorNamesFileOffsetWantedAndGot) {
  const std::unique_ptr<FlashReader> reader = Faulty({.faults = {{.offset = 9000}}});
  const FlashRead read = At(8192);
  const Status status = reader->ReadAll({&read, 1});
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), AllOf(HasSubstr(random_.path()), HasSubstr("wanted 4096 bytes at offset 8192"),
                                      HasSubstr("got 0"), HasSubstr("errno 5")));
}

TEST_F(FlashReaderTest, AnErrorAfterAShortReadSaysHowMuchHadCome) {
  const std::unique_ptr<FlashReader> reader =
      Faulty({.faults = {{.kind = Fault::Kind::kEnd, .offset = 1000, .times = 1}, {.offset = 2000}}});
  const FlashRead read = At(0);
  EXPECT_THAT(reader->ReadAll({&read, 1}).message(), HasSubstr("got 1000: "));
}

TEST_F(FlashReaderTest, AfterAnErrorAndDrainingReadsGoOn) {
  const std::unique_ptr<FlashReader> reader = Faulty({.queue_depth_max = 4, .faults = {{.offset = 5000, .times = 1}}});
  const std::vector<FlashRead> reads = {At(0), At(4096), At(8192), At(12288)};
  ASSERT_TRUE(reader->Submit(reads).ok());
  std::array<uint32_t, 4> tags;
  Status status;
  while (status.ok() && reader->in_flight() > 0) status = reader->Reap(tags, /*wait=*/true).status();
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  reader->Drain();
  EXPECT_EQ(reader->in_flight(), 0u);
  ASSERT_TRUE(reader->ReadAll(reads).ok());
  for (const FlashRead& read : reads) EXPECT_TRUE(Arrived(read));
}

TEST_F(FlashReaderTest, AFileThatEndsEarlyHasShrunk) {
  const std::unique_ptr<FlashReader> reader = Faulty({.faults = {{.kind = Fault::Kind::kEnd, .offset = 1000}}});
  const FlashRead read = At(0);
  const Status status = reader->ReadAll({&read, 1});
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("wanted 4096 bytes"), HasSubstr("got 1000"), HasSubstr("shrunk")));
}

TEST_F(FlashReaderTest, PuttingOffForeverIsAnErrorAfterTheNamedRetries) {
  for (const int error : {EAGAIN, EINTR}) {
    const std::unique_ptr<FlashReader> reader = Faulty({.faults = {{.offset = 10, .error = error}}});
    const FlashRead read = At(0);
    const Status status = reader->ReadAll({&read, 1});
    EXPECT_EQ(status.code(), StatusCode::kIoError);
    EXPECT_THAT(status.message(), HasSubstr("errno " + std::to_string(error)));
    EXPECT_EQ(reader->stats().flash_reads, 1 + kReadRetriesMax);
  }
}

TEST_F(FlashReaderTest, AReadPutOffForOneTryLessStillArrives) {
  const std::unique_ptr<FlashReader> reader =
      Faulty({.faults = {{.offset = 10, .error = EAGAIN, .times = kReadRetriesMax}}});
  const FlashRead read = At(0);
  ASSERT_TRUE(reader->ReadAll({&read, 1}).ok());
  EXPECT_TRUE(Arrived(read));
}

TEST_F(FlashReaderTest, ADirectShortReadIsRestartedWhereItsBlockBegins) {
  const std::unique_ptr<FlashReader> reader =
      FaultyDirectOrNull({.faults = {{.kind = Fault::Kind::kEnd, .offset = 4097, .times = 1}}});
  SKIP_WITHOUT_DIRECT_IO(reader);
  FlashRead read = At(0);
  read.bytes = 16384;
  ASSERT_TRUE(reader->ReadAll({&read, 1}).ok());
  EXPECT_TRUE(Arrived(read));
  // The second attempt begins at 4096, which is a block's beginning at any alignment.
  EXPECT_EQ(reader->stats().flash_read_bytes, 16384u + 12288u);
  EXPECT_EQ(reader->stats().flash_reads, 2u);
}

TEST_F(FlashReaderTest, ADirectReadThatNeverGetsBeyondItsBlockEnds) {
  const std::unique_ptr<FlashReader> reader =
      FaultyDirectOrNull({.faults = {{.kind = Fault::Kind::kEnd, .offset = 4097}}});
  SKIP_WITHOUT_DIRECT_IO(reader);
  FlashRead read = At(0);
  read.bytes = 16384;
  const Status status = reader->ReadAll({&read, 1});
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("wanted 16384 bytes"), HasSubstr("got 4097"), HasSubstr("shrunk")));
}

TEST_F(FlashReaderTest, RefusedDirectReadsFallBackToThePageCacheOnce) {
  for (const int error : {EINVAL, EOPNOTSUPP}) {
    log_.lines.clear();
    std::vector<Fault> faults;
    for (uint64_t i = 0; i < 8; ++i) faults.push_back({.offset = i * 4096, .error = error, .direct_only = true});
    const std::unique_ptr<FlashReader> reader = FaultyDirectOrNull({.queue_depth_max = 4, .faults = faults});
    SKIP_WITHOUT_DIRECT_IO(reader);
    const uint32_t alignment = reader->alignment();
    std::vector<FlashRead> reads;
    for (uint64_t i = 0; i < 8; ++i) reads.push_back(At(i * 4096));
    // The last block reaches beyond the end of the file, also when it is read through the page cache.
    reads.push_back(At(AlignDown(kFileBytes, 4096)));
    reads.back().bytes = static_cast<uint32_t>(AlignUp(kFileBytes, alignment) - reads.back().offset);
    const Status status = reader->ReadAll(reads);
    ASSERT_TRUE(status.ok()) << status.message();
    for (const FlashRead& read : reads) EXPECT_TRUE(Arrived(read));
    EXPECT_FALSE(reader->file().direct());
    EXPECT_EQ(reader->alignment(), alignment);
    ASSERT_THAT(log_.lines, SizeIs(1));
    EXPECT_THAT(log_.lines[0],
                AllOf(HasSubstr(random_.path()), HasSubstr("page cache"), HasSubstr("errno " + std::to_string(error))));
  }
}

TEST_F(FlashReaderTest, AFallbackReadsAgainWhatTheRefusedAttemptMayHaveSpoilt) {
  // The first attempt ends in the middle of a block, the second begins with that block and is refused.
  const std::unique_ptr<FlashReader> reader =
      FaultyDirectOrNull({.faults = {{.kind = Fault::Kind::kEnd, .offset = 4100, .times = 1},
                                     {.offset = 4500, .error = EINVAL, .direct_only = true}}});
  SKIP_WITHOUT_DIRECT_IO(reader);
  FlashRead read = At(0);
  read.bytes = 16384;
  ASSERT_TRUE(reader->ReadAll({&read, 1}).ok());
  EXPECT_FALSE(reader->file().direct());
  EXPECT_TRUE(Arrived(read));
}

TEST_F(FlashReaderTest, ARefusedBufferedReadIsAnError) {
  const std::unique_ptr<FlashReader> reader = Faulty({.faults = {{.offset = 0, .error = EINVAL}}});
  const FlashRead read = At(0);
  EXPECT_EQ(reader->ReadAll({&read, 1}).code(), StatusCode::kIoError);
  EXPECT_EQ(reader->stats().flash_reads, 1u);
}

TEST_F(FlashReaderTest, ReadsBeyondTheFileAreRefusedAndNothingIsStarted) {
  const std::unique_ptr<FlashReader> reader = Faulty({}, DirectIo::kAuto);
  FlashRead beyond = At(AlignDown(kFileBytes, 4096));
  beyond.bytes = static_cast<uint32_t>(AlignUp(kFileBytes, reader->alignment()) - beyond.offset) + reader->alignment();
  const std::vector<FlashRead> reads = {At(0), beyond};
  const Status status = reader->Submit(reads);
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("got " + std::to_string(kFileBytes - beyond.offset)), HasSubstr("ends there")));
  EXPECT_EQ(reader->in_flight(), 0u);
  EXPECT_EQ(reader->stats().flash_reads, 0u);
  // Buffered, alignment is 1: not one byte more.
  const std::unique_ptr<FlashReader> buffered = Faulty({});
  beyond.bytes = static_cast<uint32_t>(kFileBytes - beyond.offset) + 1;
  EXPECT_EQ(buffered->Submit({&beyond, 1}).code(), StatusCode::kIoError);
  --beyond.bytes;
  EXPECT_TRUE(buffered->ReadAll({&beyond, 1}).ok());
  const FlashRead far = {.offset = uint64_t{1} << 62, .into = buffer_.data(), .bytes = 4096};
  EXPECT_EQ(reader->Submit({&far, 1}).code(), StatusCode::kIoError);
}

TEST_F(FlashReaderTest, ASecondLookThatHoldsEndsTrustInDirectReads) {
  const std::unique_ptr<FlashReader> reader =
      FaultyDirectOrNull({.faults = {{.kind = Fault::Kind::kCorrupt, .offset = 5000, .direct_only = true}}});
  SKIP_WITHOUT_DIRECT_IO(reader);
  const FlashRead read = At(4096);
  ASSERT_TRUE(reader->ReadAll({&read, 1}).ok());
  ASSERT_FALSE(Arrived(read));
  const Result<bool> held = reader->LookAgain(read.offset, {read.into, read.bytes}, [&] { return Arrived(read); });
  ASSERT_TRUE(held.ok());
  EXPECT_TRUE(*held);
  EXPECT_FALSE(reader->file().direct());
  ASSERT_THAT(log_.lines, SizeIs(1));
  EXPECT_THAT(log_.lines[0], AllOf(HasSubstr("4096"), HasSubstr("page cache"), HasSubstr("from now on")));
  EXPECT_EQ(reader->stats().flash_reads, 2u);
  EXPECT_EQ(reader->stats().flash_read_bytes, 8192u);
  ASSERT_TRUE(reader->ReadAll({&read, 1}).ok());
  EXPECT_TRUE(Arrived(read));
}

TEST_F(FlashReaderTest, ASecondLookThatFailsChangesNothing) {
  const std::unique_ptr<FlashReader> reader = Faulty({}, DirectIo::kAuto);
  const bool direct = reader->file().direct();
  const Result<bool> held = reader->LookAgain(0, buffer_.span().first(100), [] { return false; });
  ASSERT_TRUE(held.ok());
  EXPECT_FALSE(*held);
  EXPECT_EQ(reader->file().direct(), direct);
  EXPECT_THAT(log_.lines, IsEmpty());
}

TEST_F(FlashReaderTest, ASecondLookBeyondTheFileIsAnError) {
  const std::unique_ptr<FlashReader> reader = Faulty({});
  EXPECT_EQ(reader->LookAgain(kFileBytes - 1, buffer_.span().first(2), [] { return true; }).status().code(),
            StatusCode::kIoError);
}

TEST_F(FlashReaderTest, ABrokenEngineFailsEveryReadAndLeavesNothingInFlight) {
  const std::unique_ptr<FlashReader> reader = Faulty({.queue_depth_max = 4, .breaks_after_reads = 3});
  const std::vector<FlashRead> reads = {At(0), At(4096), At(8192), At(12288)};
  EXPECT_EQ(reader->Submit(reads).code(), StatusCode::kIoError);
  EXPECT_EQ(reader->in_flight(), 0u);
  EXPECT_EQ(reader->Submit(reads).code(), StatusCode::kIoError);
  reader->Drain();
}

TEST_F(FlashReaderTest, AnEngineThatBreaksAtARetryIsAnErrorToo) {
  const std::unique_ptr<FlashReader> reader = Faulty({.queue_depth_max = 4, .again = 1, .breaks_after_reads = 6});
  const std::vector<FlashRead> reads = {At(0), At(4096), At(8192), At(12288)};
  EXPECT_EQ(reader->ReadAll(reads).code(), StatusCode::kIoError);
  EXPECT_EQ(reader->in_flight(), 0u);
}

TEST_F(FlashReaderTest, DestructionWaitsForWhatIsInFlight) {
  std::unique_ptr<FlashReader> reader = Faulty({});
  const std::vector<FlashRead> reads = {At(0), At(4096)};
  ASSERT_TRUE(reader->Submit(reads).ok());
  reader.reset();
  for (const FlashRead& read : reads) EXPECT_TRUE(Arrived(read));
}

TEST_F(FlashReaderTest, AutomaticChoiceSaysWhichEngineReads) {
  Result<FlashFile> file = FlashFile::Open(random_.path(), DirectIo::kOff, {});
  ASSERT_TRUE(file.ok());
  Result<std::unique_ptr<FlashReader>> reader =
      FlashReader::Open(std::move(file).value(), IoEngineKind::kAuto, log_.sink());
  ASSERT_TRUE(reader.ok());
  ASSERT_THAT(log_.lines, SizeIs(1));
  EXPECT_THAT(log_.lines[0], AllOf(HasSubstr("reading with " + std::string((*reader)->engine_name())),
                                   HasSubstr("depth 64"), HasSubstr("page cache")));
  EXPECT_EQ(OpenUringEngine(1).ok(), (*reader)->engine_name() == "uring");
  EXPECT_EQ(OpenUringEngine(1).ok(), log_.lines[0].find("not uring") == std::string::npos);
}

// Both real engines, directly and through the page cache.
class RealReaderTest : public FlashReaderTest, public testing::WithParamInterface<std::pair<IoEngineKind, DirectIo>> {
 protected:
  Result<std::unique_ptr<FlashReader>> Open() {
    GLINT_ASSIGN_OR_RETURN(FlashFile file, FlashFile::Open(random_.path(), GetParam().second, {}));
    return FlashReader::Open(std::move(file), GetParam().first, log_.sink());
  }

  void SetUp() override {
    Result<std::unique_ptr<FlashReader>> reader = Open();
    if (reader.status().code() == StatusCode::kUnsupported) GTEST_SKIP() << reader.status().message();
    ASSERT_TRUE(reader.ok()) << reader.status().message();
    reader_ = std::move(reader).value();
  }

  std::unique_ptr<FlashReader> reader_;
};

INSTANTIATE_TEST_SUITE_P(Engines, RealReaderTest,
                         testing::Values(std::pair(IoEngineKind::kUring, DirectIo::kAuto),
                                         std::pair(IoEngineKind::kUring, DirectIo::kOff),
                                         std::pair(IoEngineKind::kPread, DirectIo::kAuto),
                                         std::pair(IoEngineKind::kPread, DirectIo::kOff)),
                         [](const auto& test_info) {
                           return std::string(test_info.param.first == IoEngineKind::kUring ? "Uring" : "Pread") +
                                  (test_info.param.second == DirectIo::kAuto ? "Direct" : "Buffered");
                         });

TEST_P(RealReaderTest, TheWholeFileArrivesInManySmallReads) {
  const uint32_t alignment = reader_->alignment();
  std::vector<FlashRead> reads;
  uint64_t asked_bytes = 0;
  for (uint64_t offset = 0; offset < kFileBytes; offset += 4096) {
    reads.push_back(At(offset));
    const uint64_t rest = AlignUp(kFileBytes - offset, alignment);
    reads.back().bytes = static_cast<uint32_t>(std::min<uint64_t>(4096, rest));
    asked_bytes += reads.back().bytes;
  }
  const Status status = reader_->ReadAll(reads);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(random_.Holds(0, buffer_.span().first(kFileBytes)));
  EXPECT_EQ(reader_->stats().flash_read_bytes, asked_bytes);
  EXPECT_EQ(reader_->stats().flash_reads, reads.size());
  EXPECT_GT(reader_->held_bytes(), 0u);
}

TEST_P(RealReaderTest, NothingStaysInThePageCache) {
  if (random_.IsOnTmpfs()) GTEST_SKIP() << "tmpfs is page cache";
  std::vector<FlashRead> reads;
  for (uint64_t offset = 0; offset + 4096 < kFileBytes; offset += 8192) reads.push_back(At(offset));
  ASSERT_TRUE(reader_->ReadAll(reads).ok());
  EXPECT_EQ(random_.CachedPages(), 0u);
}

TEST_P(RealReaderTest, AFileThatShrankIsAnError) {
  random_.Truncate(10'000);
  FlashRead read = At(8192);
  const Status status = reader_->ReadAll({&read, 1});
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("wanted 4096 bytes at offset 8192"), HasSubstr("got 1808"), HasSubstr("shrunk")));
  read = At(40960);
  EXPECT_THAT(reader_->ReadAll({&read, 1}).message(), AllOf(HasSubstr("got 0"), HasSubstr("shrunk")));
}

TEST_P(RealReaderTest, ASliceIsReadFromItsOwnBeginning) {
  const int fd = open(random_.path().c_str(), O_RDONLY);
  ASSERT_GE(fd, 0);
  Result<FlashFile> file = FlashFile::OpenFd(fd, 4096, 100'000, GetParam().second, {});
  close(fd);
  ASSERT_TRUE(file.ok());
  Result<std::unique_ptr<FlashReader>> reader = FlashReader::Open(std::move(file).value(), GetParam().first, {});
  ASSERT_TRUE(reader.ok());
  FlashRead read = {.offset = 98'304, .into = buffer_.data(), .bytes = 1696};
  read.bytes = static_cast<uint32_t>(AlignUp(read.bytes, (*reader)->alignment()));
  ASSERT_TRUE((*reader)->ReadAll({&read, 1}).ok());
  EXPECT_TRUE(random_.Holds(4096 + 98'304, {buffer_.data(), 1696}));
}

TEST_P(RealReaderTest, ReadsOutliveTheThreadThatSubmittedThem) {
  std::vector<FlashRead> reads;
  for (uint32_t i = 0; i < kQueueDepthMax; ++i) reads.push_back(At(i * 4096, i));
  for (int round = 0; round < 20; ++round) {
    std::memset(buffer_.data(), 0, buffer_.bytes());
    std::thread([&] { ASSERT_TRUE(reader_->Submit(reads).ok()); }).join();
    std::array<uint32_t, kQueueDepthMax> tags;
    while (reader_->in_flight() > 0) {
      const Result<uint32_t> count = reader_->Reap(tags, /*wait=*/true);
      ASSERT_TRUE(count.ok()) << count.status().message();
    }
    for (const FlashRead& read : reads) ASSERT_TRUE(Arrived(read));
  }
}

TEST_P(RealReaderTest, DrainingForgetsWhatIsInFlight) {
  std::vector<FlashRead> reads;
  for (uint32_t i = 0; i < kQueueDepthMax; ++i) reads.push_back(At(i * 4096, i));
  ASSERT_TRUE(reader_->Submit(reads).ok());
  reader_->Drain();
  EXPECT_EQ(reader_->in_flight(), 0u);
  ASSERT_TRUE(reader_->ReadAll(reads).ok());
  for (const FlashRead& read : reads) EXPECT_TRUE(Arrived(read));
}

}  // namespace
}  // namespace glint
