// The seam to the operating system: raw reads, started and waited for. Short reads and EAGAIN are not its business
// (FlashReader's), so that a faulty fake can produce them.
#ifndef GLINT_STORAGE_FLASH_READ_ENGINE_H_
#define GLINT_STORAGE_FLASH_READ_ENGINE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "glint/base/status.h"

namespace glint {

struct RawRead {
  int fd = -1;
  uint64_t offset = 0;  // of the underlying file
  std::byte* into = nullptr;
  uint32_t bytes = 0;
  uint32_t tag = 0;  // comes back with the result
};

struct RawResult {
  uint32_t tag = 0;
  int32_t result = 0;  // bytes read, 0 at the end of the file, or -errno
};

// Thread-compatible: one thread at a time, which may be another at each call. Reads in flight when the thread that
// started them ends may end with -ECANCELED or -EFAULT (io_uring).
//
// Start and Reap fail only where the engine itself is broken; what goes wrong with one read is its result. After such a
// failure nothing is in flight any more, no buffer is written to, and every later Start and Reap fails too.
class ReadEngine {
 public:
  virtual ~ReadEngine() = default;            // waits for what is in flight
  virtual std::string_view name() const = 0;  // "uring", "pread"
  virtual uint32_t queue_depth_max() const = 0;
  // Bytes that the engine holds besides the buffers that reads land in (rings, stacks), for the budget.
  virtual uint64_t held_bytes() const = 0;
  // Starts all of `reads`. REQUIRES: with those in flight they are at most queue_depth_max().
  virtual Status Start(std::span<const RawRead> reads) = 0;
  // Waits until at least one read in flight has ended (with `wait` false: does not wait), writes results of ended reads
  // to `out` and returns how many, at most out.size(). REQUIRES: reads are in flight; out is not empty.
  virtual Result<uint32_t> Reap(std::span<RawResult> out, bool wait) = 0;
};

inline constexpr uint32_t kQueueDepthMax = 64;

// Both REQUIRE: 1 <= queue_depth_max <= kQueueDepthMax.
// kUnsupported where the kernel, a container or the build has no io_uring.
Result<std::unique_ptr<ReadEngine>> OpenUringEngine(uint32_t queue_depth_max);
// `lanes` threads that read, at least 1; fewer where the system does not give that many.
Result<std::unique_ptr<ReadEngine>> OpenPreadEngine(uint32_t queue_depth_max, uint32_t lanes);

}  // namespace glint

#endif  // GLINT_STORAGE_FLASH_READ_ENGINE_H_
