// The engine that is always there: a few threads, each in one pread at a time.
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "glint/base/text.h"
#include "glint/base/units.h"
#include "storage/flash/read_engine.h"

namespace glint {

namespace {

constexpr uint32_t kLanesMax = kQueueDepthMax;
// A lane's calls go three deep; the rest is room for the thread-local data of libraries, which lives on the stack too.
constexpr uint64_t kLaneStackBytes = 128 * kKiB;

// A queue of at most kQueueDepthMax, in place.
template <typename T>
class Fifo {
 public:
  bool empty() const { return count_ == 0; }
  void Push(const T& item) {
    GLINT_CHECK(count_ < kQueueDepthMax);
    items_[(first_ + count_++) % kQueueDepthMax] = item;
  }
  T Pop() {
    const T item = items_[first_];
    first_ = (first_ + 1) % kQueueDepthMax;
    --count_;
    return item;
  }
  void Clear() { count_ = 0; }

 private:
  std::array<T, kQueueDepthMax> items_;
  uint32_t first_ = 0;
  uint32_t count_ = 0;
};

class PreadEngine final : public ReadEngine {
 public:
  explicit PreadEngine(uint32_t queue_depth_max) : queue_depth_max_(queue_depth_max) {}
  PreadEngine(const PreadEngine&) = delete;
  PreadEngine& operator=(const PreadEngine&) = delete;

  ~PreadEngine() override {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
      waiting_.Clear();
    }
    work_.notify_all();
    for (const pthread_t lane : lanes_) pthread_join(lane, nullptr);
  }

  Status Open(uint32_t lanes) {
    lanes_.reserve(lanes);
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) return ErrnoStatus("cannot prepare a reading thread", error);
    // Where a system's least stack is larger, its default is taken.
    (void)pthread_attr_setstacksize(&attributes, kLaneStackBytes);
    // Lanes inherit a mask that blocks every signal: Ctrl-C is the caller's to handle.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (uint32_t i = 0; i < lanes; ++i) {
      pthread_t lane;
      error = pthread_create(&lane, &attributes, &PreadEngine::RunLane, this);
      if (error != 0) break;
      lanes_.push_back(lane);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attributes);
    if (lanes_.empty()) return ErrnoStatus("cannot start a reading thread", error);
    return Status::Ok();
  }

  std::string_view name() const override { return "pread"; }
  uint32_t queue_depth_max() const override { return queue_depth_max_; }
  uint64_t held_bytes() const override { return sizeof(*this) + lanes_.size() * kLaneStackBytes; }

  Status Start(std::span<const RawRead> reads) override {
    {
      const std::lock_guard lock(mutex_);
      for (const RawRead& read : reads) waiting_.Push(read);
    }
    for (size_t i = 0; i < std::min(reads.size(), lanes_.size()); ++i) work_.notify_one();
    return Status::Ok();
  }

  Result<uint32_t> Reap(std::span<RawResult> out, bool wait) override {
    std::unique_lock lock(mutex_);
    if (wait) ended_any_.wait(lock, [&] { return !ended_.empty(); });
    uint32_t count = 0;
    while (count < out.size() && !ended_.empty()) out[count++] = ended_.Pop();
    return count;
  }

 private:
  static void* RunLane(void* engine) {
    static_cast<PreadEngine*>(engine)->ReadUntilClosing();
    return nullptr;
  }

  void ReadUntilClosing() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [&] { return closing_ || !waiting_.empty(); });
      if (closing_) return;
      const RawRead read = waiting_.Pop();
      lock.unlock();
      const ssize_t got = pread(read.fd, read.into, read.bytes, static_cast<off_t>(read.offset));
      const int32_t result = got >= 0 ? static_cast<int32_t>(got) : -errno;
      lock.lock();
      ended_.Push({.tag = read.tag, .result = result});
      ended_any_.notify_one();
    }
  }

  const uint32_t queue_depth_max_;
  std::vector<pthread_t> lanes_;

  std::mutex mutex_;  // guards all below
  std::condition_variable work_;
  std::condition_variable ended_any_;
  Fifo<RawRead> waiting_;
  Fifo<RawResult> ended_;
  bool closing_ = false;
};

}  // namespace

Result<std::unique_ptr<ReadEngine>> OpenPreadEngine(uint32_t queue_depth_max, uint32_t lanes) {
  GLINT_CHECK(queue_depth_max >= 1 && queue_depth_max <= kQueueDepthMax);
  GLINT_CHECK(lanes >= 1 && lanes <= kLanesMax);
  auto engine = std::make_unique<PreadEngine>(queue_depth_max);
  GLINT_RETURN_IF_ERROR(engine->Open(lanes));
  return std::unique_ptr<ReadEngine>(std::move(engine));
}

}  // namespace glint
