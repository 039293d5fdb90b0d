#include "runtime/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>

#include "glint/base/text.h"
#include "runtime/kernels/kernels.h"

namespace glint {
namespace {

// What a kernel needs is little, and a small stack keeps the process small.
constexpr size_t kStackBytes = 256 * 1024;
// Layers follow each other within tens of microseconds; sleeping in between would cost more than the work.
constexpr std::chrono::microseconds kSpin{40};
// Before it sleeps, a lane offers its core to others: with more lanes than cores that is what lets them finish.
constexpr int kYields = 4;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

uint32_t UsableCores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) return 1;
  return static_cast<uint32_t>(std::max(1, CPU_COUNT(&cores)));
}

// Returns when `value` is no longer `old`: spins where each lane has a core, then yields, then sleeps.
void WaitWhile(const std::atomic<uint32_t>& value, uint32_t old, bool spin) {
  const auto changed = [&] { return value.load(std::memory_order_acquire) != old; };
  if (changed()) return;
  if (spin) {
    const auto deadline = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 16; ++i) {
        if (changed()) return;
        Pause();
      }
    } while (std::chrono::steady_clock::now() < deadline);
  }
  for (int i = 0; i < kYields; ++i) {
    sched_yield();
    if (changed()) return;
  }
  while (!changed()) value.wait(old, std::memory_order_acquire);
}

}  // namespace

LaneRange SplitRange(uint64_t count, uint64_t grain, uint32_t lane, uint32_t lanes) {
  GLINT_DCHECK(grain > 0 && lane < lanes);
  const uint64_t grains = (count + grain - 1) / grain;
  const auto bound = [&](uint64_t index) { return std::min(count, grains * index / lanes * grain); };
  return {bound(lane), bound(uint64_t{lane} + 1)};
}

// A round has one share of work for each lane. Whoever is awake claims the next share, the caller too, so that the
// caller never waits for a worker that has not got a core yet, only for shares that are under way. A share is claimed
// by moving `claims` on from {round, share} to {round, share + 1}: that succeeds only while the round is not over, so
// `function` is that round's, and it is not written again before all its shares are finished.
struct ThreadPool::State {
  uint32_t lanes = 1;
  bool spin = true;
  const LaneFunction* function = nullptr;
  std::atomic<bool> ended = false;
  // Apart from each other, so that spinning on one does not slow down changes of the other.
  alignas(64) std::atomic<uint32_t> round{0};       // what workers wait on
  alignas(64) std::atomic<uint64_t> claims{0};      // round << 32 | the next share
  alignas(64) std::atomic<uint32_t> unfinished{0};  // shares of the round

  std::array<pthread_t, kThreadsMax> workers;  // [1, started)
  uint32_t started = 1;

  ~State() {
    ended.store(true, std::memory_order_relaxed);
    WakeWorkers();
    for (uint32_t lane = 1; lane < started; ++lane) pthread_join(workers[lane], nullptr);
  }

  void WakeWorkers() {
    round.fetch_add(1, std::memory_order_release);
    round.notify_all();
  }

  void Run(const LaneFunction& f) {
    function = &f;
    unfinished.store(lanes, std::memory_order_relaxed);
    const uint64_t next_round = (claims.load(std::memory_order_relaxed) >> 32) + 1;
    claims.store(next_round << 32, std::memory_order_release);
    WakeWorkers();
    WorkOff();
    for (uint32_t left = 0; (left = unfinished.load(std::memory_order_acquire)) != 0;) {
      WaitWhile(unfinished, left, spin);
    }
  }

  // Claims and runs shares until none is left.
  void WorkOff() {
    uint64_t claim = claims.load(std::memory_order_acquire);
    while (static_cast<uint32_t>(claim) < lanes) {
      if (!claims.compare_exchange_weak(claim, claim + 1, std::memory_order_acq_rel, std::memory_order_acquire))
        continue;
      (*function)(static_cast<uint32_t>(claim), lanes);
      if (unfinished.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished.notify_one();
      claim = claims.load(std::memory_order_acquire);
    }
  }

  static void* WorkerMain(void* argument) {
    State& state = *static_cast<State*>(argument);
    const FloatEnvironment environment;
    uint32_t seen = 0;
    while (true) {
      WaitWhile(state.round, seen, state.spin);
      seen = state.round.load(std::memory_order_acquire);
      if (state.ended.load(std::memory_order_relaxed)) return nullptr;
      state.WorkOff();
    }
  }

  Status StartWorkers() {
    pthread_attr_t attributes;
    if (const int error = pthread_attr_init(&attributes); error != 0) {
      return ErrnoStatus("cannot set up worker threads", error);
    }
    // Workers inherit a mask that blocks every signal: those are the caller's to handle, and on a stack of its size.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_attr_setstacksize(&attributes, kStackBytes);
    for (; error == 0 && started < lanes; ++started) {
      error = pthread_create(&workers[started], &attributes, WorkerMain, this);
      if (error != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attributes);
    if (error == 0) return Status::Ok();
    return ErrnoStatus(Concat("cannot start worker thread ", started, " of ", lanes - 1), error);
  }
};

ThreadPool::ThreadPool(std::unique_ptr<State> state) : state_(std::move(state)) {}
ThreadPool::~ThreadPool() = default;

Result<std::unique_ptr<ThreadPool>> ThreadPool::Create(uint32_t lanes) {
  if (lanes < 1 || lanes > kThreadsMax) {
    return InvalidArgument(Concat("threads must be 1 to ", kThreadsMax, ", got ", lanes));
  }
  auto state = std::make_unique<State>();
  state->lanes = lanes;
  state->spin = lanes <= UsableCores();
  GLINT_RETURN_IF_ERROR(state->StartWorkers());
  return std::unique_ptr<ThreadPool>(new ThreadPool(std::move(state)));
}

uint32_t ThreadPool::lanes() const { return state_->lanes; }

void ThreadPool::Run(LaneFunction f) {
  if (state_->lanes == 1) return f(0, 1);
  state_->Run(f);
}

}  // namespace glint
