#include "storage/flash/read_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <latch>
#include <set>
#include <thread>

#include "test/storage/flash/random_file.h"

namespace glint {
namespace {

using test::MakeBuffer;
using test::RandomFile;

constexpr uint32_t kReadBytes = 4096;

// Both real engines keep the same promises.
class ReadEngineTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<ReadEngine>> engine = Open();
    if (engine.status().code() == StatusCode::kUnsupported) GTEST_SKIP() << engine.status().message();
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    engine_ = std::move(engine).value();
    fd_ = open(file_.path().c_str(), O_RDONLY);
    ASSERT_GE(fd_, 0);
  }

  void TearDown() override {
    engine_.reset();
    if (fd_ >= 0) close(fd_);
  }

  static Result<std::unique_ptr<ReadEngine>> Open() {
    return GetParam() == "uring" ? OpenUringEngine(kQueueDepthMax) : OpenPreadEngine(kQueueDepthMax, 4);
  }

  RawRead Read(uint32_t index) const {
    return {.fd = fd_,
            .offset = uint64_t{index} * kReadBytes,
            .into = buffer_.data() + uint64_t{index} * kReadBytes,
            .bytes = kReadBytes,
            .tag = index};
  }

  void StartAll() {
    std::vector<RawRead> reads;
    for (uint32_t i = 0; i < kQueueDepthMax; ++i) reads.push_back(Read(i));
    ASSERT_TRUE(engine_->Start(reads).ok());
  }

  // Reaps all of StartAll's, checks that each ends once and whole.
  void ReapAll(size_t room, bool wait) {
    std::set<uint32_t> ended;
    std::array<RawResult, kQueueDepthMax> results;
    while (ended.size() < kQueueDepthMax) {
      const Result<uint32_t> count = engine_->Reap(std::span(results).first(room), wait);
      ASSERT_TRUE(count.ok());
      ASSERT_LE(*count, room);
      ASSERT_TRUE(!wait || *count > 0) << "waited for nothing";
      for (uint32_t i = 0; i < *count; ++i) {
        EXPECT_EQ(results[i].result, static_cast<int32_t>(kReadBytes));
        EXPECT_TRUE(ended.insert(results[i].tag).second);
      }
    }
    EXPECT_EQ(*ended.rbegin(), kQueueDepthMax - 1);
    EXPECT_TRUE(file_.Holds(0, buffer_.span()));
  }

  int32_t ResultOf(const RawRead& read) {
    EXPECT_TRUE(engine_->Start({&read, 1}).ok());
    RawResult result;
    EXPECT_EQ(*engine_->Reap({&result, 1}, /*wait=*/true), 1u);
    EXPECT_EQ(result.tag, read.tag);
    return result.result;
  }

  const RandomFile file_ = RandomFile(kQueueDepthMax * kReadBytes + 100);
  const AlignedBuffer buffer_ = MakeBuffer(kQueueDepthMax * kReadBytes);
  std::unique_ptr<ReadEngine> engine_;
  int fd_ = -1;
};

INSTANTIATE_TEST_SUITE_P(Engines, ReadEngineTest, testing::Values("uring", "pread"),
                         [](const auto& test_info) { return test_info.param; });

TEST_P(ReadEngineTest, HasItsNameAndDepthAndOwnsUpToWhatItHolds) {
  EXPECT_EQ(engine_->name(), GetParam());
  EXPECT_EQ(engine_->queue_depth_max(), kQueueDepthMax);
  EXPECT_GT(engine_->held_bytes(), 0u);
  EXPECT_LE(engine_->held_bytes(), 1u << 20);
}

TEST_P(ReadEngineTest, AFullQueueBringsEveryReadOnce) {
  for (int round = 0; round < 50; ++round) {
    std::memset(buffer_.data(), 0, buffer_.bytes());
    StartAll();
    ReapAll(kQueueDepthMax, /*wait=*/true);
  }
}

TEST_P(ReadEngineTest, ResultsWithoutRoomComeNextTime) {
  StartAll();
  ReapAll(3, /*wait=*/true);
}

TEST_P(ReadEngineTest, ReapingWithoutWaitingBringsThemTooInTheEnd) {
  StartAll();
  ReapAll(kQueueDepthMax, /*wait=*/false);
}

TEST_P(ReadEngineTest, TheEndOfTheFileIsAShortReadThenZero) {
  RawRead read = Read(0);
  read.offset = kQueueDepthMax * kReadBytes;
  EXPECT_EQ(ResultOf(read), 100);
  read.offset += 100;
  EXPECT_EQ(ResultOf(read), 0);
}

TEST_P(ReadEngineTest, AnErrorIsTheResultOfItsReadAlone) {
  RawRead bad = Read(1);
  bad.fd = -1;
  EXPECT_EQ(ResultOf(bad), -EBADF);
  EXPECT_EQ(ResultOf(Read(0)), static_cast<int32_t>(kReadBytes));
}

TEST_P(ReadEngineTest, AnotherThreadMayReapWhatOneStarted) {
  for (int round = 0; round < 10; ++round) {
    std::memset(buffer_.data(), 0, buffer_.bytes());
    std::latch started(1);
    std::latch reaped(1);
    std::thread starter([&] {
      StartAll();
      started.count_down();
      reaped.wait();
    });
    started.wait();
    ReapAll(kQueueDepthMax, /*wait=*/true);
    reaped.count_down();
    starter.join();
  }
}

TEST_P(ReadEngineTest, NothingIsWrittenAfterItIsGone) {
  for (int round = 0; round < 20; ++round) {
    StartAll();
    engine_.reset();
    std::memset(buffer_.data(), 0x11, buffer_.bytes());
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_TRUE(std::ranges::all_of(buffer_.span(), [](std::byte b) { return b == std::byte{0x11}; }));
    Result<std::unique_ptr<ReadEngine>> engine = Open();
    ASSERT_TRUE(engine.ok());
    engine_ = std::move(engine).value();
  }
}

}  // namespace
}  // namespace glint
