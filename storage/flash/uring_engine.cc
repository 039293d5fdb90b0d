// The io_uring engine. The only file that knows liburing.
#include <memory>

#include "glint/base/text.h"
#include "glint/base/units.h"
#include "storage/flash/aligned_buffer.h"
#include "storage/flash/read_engine.h"

#ifdef GLINT_HAVE_URING
#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>
#endif

namespace glint {

#ifdef GLINT_HAVE_URING

namespace {

// How often a ring call that the kernel puts off (EAGAIN, EBUSY, EINTR) is tried again, a millisecond apart, before the
// ring counts as broken: a second.
constexpr int kRingTriesMax = 1000;

bool IsPutOff(int result) { return result == -EAGAIN || result == -EBUSY || result == -EINTR; }

void Pause() { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }

class UringEngine final : public ReadEngine {
 public:
  UringEngine() = default;
  UringEngine(const UringEngine&) = delete;
  UringEngine& operator=(const UringEngine&) = delete;

  ~UringEngine() override {
    if (!open_) return;
    AwaitKernel();
    io_uring_queue_exit(&ring_);
  }

  // No set-up flags: a ring with IORING_SETUP_SINGLE_ISSUER or COOP_TASKRUN is bound to the thread that submits.
  Status Open(uint32_t queue_depth_max) {
    if (const int result = io_uring_queue_init(queue_depth_max, &ring_, /*flags=*/0); result < 0) {
      // ENOSYS: an old kernel; EPERM, EACCES: a container or a sysctl; ENOMEM: the limit of lockable memory.
      return Unsupported(ErrnoStatus("the kernel does not give an io_uring", -result).message());
    }
    open_ = true;
    queue_depth_max_ = queue_depth_max;
    io_uring_probe* probe = io_uring_get_probe_ring(&ring_);
    const bool reads = probe != nullptr && io_uring_opcode_supported(probe, IORING_OP_READ) != 0;
    io_uring_free_probe(probe);
    if (!reads) return Unsupported("the kernel's io_uring has no plain read");
    return Status::Ok();
  }

  std::string_view name() const override { return "uring"; }
  uint32_t queue_depth_max() const override { return queue_depth_max_; }
  uint64_t held_bytes() const override {
    const uint64_t rings = std::max(ring_.sq.ring_sz, ring_.cq.ring_sz);
    return AlignUp(rings, kPageBytes) + AlignUp(*ring_.sq.kring_entries * sizeof(io_uring_sqe), kPageBytes);
  }

  Status Start(std::span<const RawRead> reads) override {
    if (!broken_.ok()) return broken_;
    for (const RawRead& read : reads) {
      io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
      GLINT_CHECK(sqe != nullptr);  // the ring has queue_depth_max entries
      io_uring_prep_read(sqe, read.fd, read.into, read.bytes, read.offset);
      io_uring_sqe_set_data64(sqe, read.tag);
    }
    return SubmitAll();
  }

  Result<uint32_t> Reap(std::span<RawResult> out, bool wait) override {
    if (!broken_.ok()) return broken_;
    for (int tries = 0;; ++tries) {
      // What an earlier submit left behind goes first; without it there may be nothing to wait for.
      GLINT_RETURN_IF_ERROR(SubmitAll());
      if (const uint32_t count = TakeReady(out); count > 0 || !wait) return count;
      io_uring_cqe* cqe = nullptr;
      const int result = io_uring_wait_cqe(&ring_, &cqe);
      if (result == -EINTR && tries < kRingTriesMax) continue;
      if (result < 0 && (!IsPutOff(result) || tries >= kRingTriesMax)) return Break("waiting for", result);
      if (result < 0) Pause();
    }
  }

 private:
  // Hands all prepared reads to the kernel, which may take them in several goes. Where it puts off the rest while
  // others are in flight, they are left for Reap: what ends makes room.
  Status SubmitAll() {
    for (int tries = 0; io_uring_sq_ready(&ring_) > 0;) {
      const int result = io_uring_submit(&ring_);
      if (result > 0) {
        in_kernel_ += static_cast<uint32_t>(result);
        continue;
      }
      if (result < 0 && !IsPutOff(result)) return Break("submitting to", result);
      if (in_kernel_ > 0 && result != -EINTR) return Status::Ok();
      if (++tries > kRingTriesMax) return Break("submitting to", result == 0 ? -EAGAIN : result);
      if (result != -EINTR) Pause();
    }
    return Status::Ok();
  }

  uint32_t TakeReady(std::span<RawResult> out) {
    uint32_t count = 0;
    io_uring_cqe* cqe = nullptr;
    while (count < out.size() && io_uring_peek_cqe(&ring_, &cqe) == 0) {
      out[count++] = {.tag = static_cast<uint32_t>(io_uring_cqe_get_data64(cqe)), .result = cqe->res};
      io_uring_cqe_seen(&ring_, cqe);
      --in_kernel_;
    }
    return count;
  }

  // Waits by looking, without a ring call, so that it works on a broken ring: results are posted into shared memory
  // whenever this thread returns from any system call. A read that the kernel has ends, so this does.
  void AwaitKernel() {
    RawResult ignored;
    while (in_kernel_ > 0) {
      if (TakeReady({&ignored, 1}) == 0) Pause();
    }
  }

  Status Break(std::string_view what, int result) {
    AwaitKernel();
    broken_ = ErrnoStatus(Concat(what, " the io_uring failed"), -result);
    return broken_;
  }

  io_uring ring_ = {};
  bool open_ = false;
  uint32_t queue_depth_max_ = 0;
  uint32_t in_kernel_ = 0;  // submitted and not yet taken
  Status broken_;
};

}  // namespace

Result<std::unique_ptr<ReadEngine>> OpenUringEngine(uint32_t queue_depth_max) {
  GLINT_CHECK(queue_depth_max >= 1 && queue_depth_max <= kQueueDepthMax);
  auto engine = std::make_unique<UringEngine>();
  GLINT_RETURN_IF_ERROR(engine->Open(queue_depth_max));
  return std::unique_ptr<ReadEngine>(std::move(engine));
}

#else

Result<std::unique_ptr<ReadEngine>> OpenUringEngine(uint32_t /*queue_depth_max*/) {
  return Unsupported("this build has no io_uring: it was made without liburing");
}

#endif

}  // namespace glint
