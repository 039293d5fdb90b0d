// A fork-join pool: a function of so many lanes of work, and back. Which thread runs which lane is not fixed.
#ifndef GLINT_RUNTIME_THREAD_POOL_H_
#define GLINT_RUNTIME_THREAD_POOL_H_

#include <cstdint>
#include <memory>

#include "glint/base/status.h"

namespace glint {

inline constexpr uint32_t kThreadsMax = 64;

// A borrowed callable; no allocation. The callable outlives the call it is passed to.
class LaneFunction {
 public:
  template <typename F>
  LaneFunction(const F& f)  // NOLINT: implicit on purpose
      : object_(&f), call_([](const void* object, uint32_t lane, uint32_t lanes) {
          (*static_cast<const F*>(object))(lane, lanes);
        }) {}
  void operator()(uint32_t lane, uint32_t lanes) const { call_(object_, lane, lanes); }

 private:
  const void* object_;
  void (*call_)(const void*, uint32_t, uint32_t);
};

// Splits [0, count) into `lanes` runs whose bounds are multiples of `grain`; returns [begin, end) of `lane`.
struct LaneRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};
LaneRange SplitRange(uint64_t count, uint64_t grain, uint32_t lane, uint32_t lanes);

// Thread-compatible: Run from one thread at a time. Workers have the contract's float environment, spin briefly, then
// sleep.
class ThreadPool {
 public:
  static Result<std::unique_ptr<ThreadPool>> Create(uint32_t lanes);  // 1 .. kThreadsMax; 1 starts no thread
  ~ThreadPool();
  uint32_t lanes() const;
  // Calls f(lane, lanes()) once for each lane, on the caller's thread and the workers', and returns when all have
  // returned. The caller takes on the lanes of workers that do not get a core.
  void Run(LaneFunction f);

 private:
  struct State;
  explicit ThreadPool(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace glint

#endif  // GLINT_RUNTIME_THREAD_POOL_H_
