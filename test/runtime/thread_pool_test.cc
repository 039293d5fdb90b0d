#include "runtime/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <set>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace glint {
namespace {

std::unique_ptr<ThreadPool> MakePool(uint32_t lanes) {
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(lanes);
  EXPECT_TRUE(pool.ok()) << pool.status().message();
  return std::move(pool).value();
}

TEST(ThreadPoolTest, EachLaneRunsOnce) {
  for (const uint32_t lanes : {1U, 2U, 3U, 5U, kThreadsMax}) {
    const std::unique_ptr<ThreadPool> pool = MakePool(lanes);
    ASSERT_EQ(pool->lanes(), lanes);
    for (int round = 0; round < 20; ++round) {
      std::array<int, kThreadsMax> calls{};
      pool->Run([&](uint32_t lane, uint32_t count) {
        EXPECT_EQ(count, lanes);
        ++calls[lane];
      });
      for (uint32_t lane = 0; lane < kThreadsMax; ++lane) EXPECT_EQ(calls[lane], lane < lanes ? 1 : 0);
    }
  }
}

// Each lane waits for all others, which only ends where each has a thread of its own.
TEST(ThreadPoolTest, LanesRunAtTheSameTime) {
  for (const uint32_t lanes : {2U, 5U}) {
    const std::unique_ptr<ThreadPool> pool = MakePool(lanes);
    std::array<std::thread::id, kThreadsMax> threads{};
    std::atomic<uint32_t> arrived{0};
    pool->Run([&](uint32_t lane, uint32_t) {
      threads[lane] = std::this_thread::get_id();
      ++arrived;
      while (arrived < lanes) std::this_thread::yield();
    });
    EXPECT_EQ(std::set<std::thread::id>(threads.begin(), threads.begin() + lanes).size(), lanes);
    EXPECT_EQ(std::count(threads.begin(), threads.end(), std::this_thread::get_id()), 1);
  }
}

// Plain, unsynchronised integers: the pool alone orders the rounds, and the thread sanitizer watches.
TEST(ThreadPoolTest, EachRoundSeesWhatTheOneBeforeWrote) {
  for (const uint32_t lanes : {2U, 5U}) {
    const std::unique_ptr<ThreadPool> pool = MakePool(lanes);
    std::vector<uint64_t> values(lanes, 1);
    std::vector<uint64_t> next(lanes);
    uint64_t expected = 1;
    for (int round = 0; round < 2000; ++round) {
      pool->Run([&](uint32_t lane, uint32_t) {
        next[lane] = 0;
        for (const uint64_t value : values) next[lane] += value;
      });
      pool->Run([&](uint32_t lane, uint32_t) { values[lane] = next[(lane + 1) % lanes]; });
      expected *= lanes;
    }
    EXPECT_EQ(values, std::vector<uint64_t>(lanes, expected));
  }
}

TEST(ThreadPoolTest, SleepingWorkersWakeForTheNextRound) {
  const std::unique_ptr<ThreadPool> pool = MakePool(3);
  std::atomic<int> calls{0};
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    pool->Run([&](uint32_t lane, uint32_t) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2 * lane));
      ++calls;
    });
  }
  EXPECT_EQ(calls, 15);
}

TEST(ThreadPoolTest, CountsOutsideItsBoundsAreRefused) {
  EXPECT_EQ(ThreadPool::Create(0).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ThreadPool::Create(kThreadsMax + 1).status().code(), StatusCode::kInvalidArgument);
}

TEST(ThreadPoolTest, APoolMayEndUnusedOrJustAfterItsWork) {
  for (int repeat = 0; repeat < 50; ++repeat) {
    const std::unique_ptr<ThreadPool> unused = MakePool(4);
    const std::unique_ptr<ThreadPool> used = MakePool(4);
    used->Run([](uint32_t, uint32_t) {});
  }
}

TEST(ThreadPoolTest, SignalsAreLeftToTheThreadsOfTheCaller) {
  const std::unique_ptr<ThreadPool> pool = MakePool(2);
  std::atomic<uint32_t> arrived{0};
  std::atomic<bool> blocked{false};
  pool->Run([&, caller = std::this_thread::get_id()](uint32_t, uint32_t) {
    if (std::this_thread::get_id() != caller) {
      sigset_t mask;
      pthread_sigmask(SIG_SETMASK, nullptr, &mask);
      blocked = sigismember(&mask, SIGINT) == 1 && sigismember(&mask, SIGTERM) == 1;
    }
    ++arrived;
    while (arrived < 2) std::this_thread::yield();  // so that a worker has one of the lanes
  });
  EXPECT_TRUE(blocked);
  sigset_t mine;
  pthread_sigmask(SIG_SETMASK, nullptr, &mine);
  EXPECT_EQ(sigismember(&mine, SIGINT), 0);
}

#if defined(__x86_64__)
TEST(ThreadPoolTest, WorkersHaveTheContractsFloatEnvironmentWhateverTheirMakerHas) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040U);  // a new thread inherits flushing of denormals
  const std::unique_ptr<ThreadPool> pool = MakePool(2);
  unsigned inside = ~0U;
  std::atomic<uint32_t> arrived{0};
  pool->Run([&, caller = std::this_thread::get_id()](uint32_t, uint32_t) {
    if (std::this_thread::get_id() != caller) inside = _mm_getcsr();
    ++arrived;
    while (arrived < 2) std::this_thread::yield();  // so that a worker has one of the lanes
  });
  _mm_setcsr(before);
  EXPECT_EQ(inside & 0xE040U, 0U);
}
#endif

TEST(SplitRangeTest, LanesCoverTheRangeInGrainsWithoutOverlap) {
  for (const uint64_t count : {0UL, 1UL, 63UL, 64UL, 65UL, 1000UL, 2048UL}) {
    for (const uint64_t grain : {1UL, 8UL, 64UL}) {
      for (uint32_t lanes = 1; lanes <= 9; ++lanes) {
        uint64_t end = 0;
        for (uint32_t lane = 0; lane < lanes; ++lane) {
          const LaneRange range = SplitRange(count, grain, lane, lanes);
          EXPECT_EQ(range.begin, end);
          EXPECT_GE(range.end, range.begin);
          EXPECT_TRUE(range.end % grain == 0 || range.end == count);
          EXPECT_LE(range.end - range.begin, (count / grain / lanes + 2) * grain);
          end = range.end;
        }
        EXPECT_EQ(end, count);
      }
    }
  }
}

}  // namespace
}  // namespace glint
