#include "runtime/turn_queue.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace glint {
namespace {

void AwaitLength(const TurnQueue& queue, uint64_t length) {
  while (queue.length() < length) std::this_thread::yield();
}

TEST(TurnQueueTest, WhoTakesItAgainWaitsForThoseWhoCameBefore) {
  TurnQueue queue;
  std::vector<int> order;
  std::vector<std::thread> others;
  queue.lock();
  for (int i = 0; i < 4; ++i) {
    others.emplace_back([&, i] {
      const std::lock_guard turn(queue);
      order.push_back(i);
    });
    AwaitLength(queue, static_cast<uint64_t>(i) + 2);
  }
  queue.unlock();
  queue.lock();
  order.push_back(4);
  queue.unlock();
  for (std::thread& other : others) other.join();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(TurnQueueTest, TurnsDoNotOverlap) {
  TurnQueue queue;
  int turns = 0;  // not atomic on purpose
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 1000; ++j) {
        const std::lock_guard turn(queue);
        ++turns;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(turns, 3000);
  EXPECT_EQ(queue.length(), 0U);
}

}  // namespace
}  // namespace glint
