// A mutex that serves those who wait in the order in which they came. std::mutex does not: whoever gives it back and
// takes it again at once, as a long feed does between its batches, usually wins against those who sleep on it.
#ifndef GLINT_RUNTIME_TURN_QUEUE_H_
#define GLINT_RUNTIME_TURN_QUEUE_H_

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace glint {

// Thread-safe; for std::unique_lock and std::lock_guard. Allocates nothing.
class TurnQueue {
 public:
  void lock() {  // NOLINT: the standard's name
    std::unique_lock guard(mutex_);
    const uint64_t turn = came_++;
    next_turn_.wait(guard, [&] { return served_ == turn; });
  }
  void unlock() {  // NOLINT: the standard's name
    {
      const std::lock_guard guard(mutex_);
      ++served_;
    }
    next_turn_.notify_all();
  }
  // Those who have or wait for a turn.
  uint64_t length() const {
    const std::lock_guard guard(mutex_);
    return came_ - served_;
  }

 private:
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable next_turn_;
  uint64_t came_ = 0;
  uint64_t served_ = 0;  // turns that have ended; the one with this number is under way
};

}  // namespace glint

#endif  // GLINT_RUNTIME_TURN_QUEUE_H_
