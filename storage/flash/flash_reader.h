// Reads stretches of the model file into memory, many at once, over any engine. Here, and only here, short reads,
// EAGAIN and EINTR are dealt with (design, invariant 6).
#ifndef GLINT_STORAGE_FLASH_FLASH_READER_H_
#define GLINT_STORAGE_FLASH_FLASH_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "glint/base/log.h"
#include "glint/base/status.h"
#include "storage/flash/flash_file.h"
#include "storage/flash/read_engine.h"

namespace glint {

enum class IoEngineKind { kAuto, kUring, kPread };

// One read. With direct I/O the first three are multiples of alignment(); `bytes` may reach beyond the end of the file
// by less than one alignment, and what lands beyond is unspecified.
struct FlashRead {
  uint64_t offset = 0;
  std::byte* into = nullptr;
  uint32_t bytes = 0;
  uint32_t tag = 0;  // comes back from Reap
};

struct FlashReaderStats {
  uint64_t flash_read_bytes = 0;  // all bytes asked of the device, gaps and alignment counted, retries too
  uint64_t flash_reads = 0;       // reads started, retries too
};

// A read that is put off (EAGAIN, EINTR) or brings nothing new is started again this often in a row before it fails.
inline constexpr uint32_t kReadRetriesMax = 64;

// Thread-compatible. No call allocates after Open, but to report an error or a fallback.
class FlashReader {
 public:
  // kAuto: io_uring, else the pread pool; one line tells which, and why not the other.
  static Result<std::unique_ptr<FlashReader>> Open(FlashFile file, IoEngineKind kind, const LogSink& log);
  // With a given engine (a faulty fake).
  static std::unique_ptr<FlashReader> Create(FlashFile file, std::unique_ptr<ReadEngine> engine, LogSink log);
  ~FlashReader();  // waits for what is in flight

  const FlashFile& file() const { return file_; }
  std::string_view engine_name() const;
  uint32_t alignment() const { return file_.alignment(); }
  uint32_t queue_depth_max() const;
  uint64_t held_bytes() const;  // of the engine and the tables, for the budget
  const FlashReaderStats& stats() const { return stats_; }
  uint32_t in_flight() const { return in_flight_; }

  // Starts all of `reads`, or none where one lies beyond the file. REQUIRES: none is empty, and in_flight() +
  // reads.size() <= queue_depth_max().
  Status Submit(std::span<const FlashRead> reads);
  // Returns how many whole reads ended, their tags in `tags`; waits for the first where `wait`. After an error (which
  // names file, offset, wanted, got) call Drain. REQUIRES: in_flight() > 0 and tags is not empty.
  Result<uint32_t> Reap(std::span<uint32_t> tags, bool wait);
  // Waits for everything in flight and forgets it. After it, no buffer is written to any more.
  void Drain();
  // Submits and reaps all of `reads` (any number), as many at once as the engine takes. After an error nothing is in
  // flight. REQUIRES: in_flight() == 0.
  Status ReadAll(std::span<const FlashRead> reads);
  // A second look at bytes whose checksum failed: reads them through the page cache. Where `holds()` is then true
  // the device's direct path is not to be trusted: reads started from now on are buffered, and one line says so.
  // Returns false where the bytes are still wrong.
  template <typename Holds>
  Result<bool> LookAgain(uint64_t offset, std::span<std::byte> into, Holds holds) {
    GLINT_RETURN_IF_ERROR(ReadAgainBuffered(offset, into));
    if (!holds()) return false;
    DistrustDirect(offset);
    return true;
  }

 private:
  struct Pending;
  FlashReader(FlashFile file, std::unique_ptr<ReadEngine> engine, LogSink log);
  // A second look that held: says so, and gives up direct I/O where it was on.
  void DistrustDirect(uint64_t offset);
  Status ReadAgainBuffered(uint64_t offset, std::span<std::byte> into);

  RawRead NextRawRead(uint32_t slot);
  // Takes in one result of the engine. Returns whether the whole read has ended; where not, it was started again.
  Result<bool> TakeResult(const RawResult& result);
  // Forgets everything, without waiting.
  void Forget();

  FlashFile file_;
  std::unique_ptr<ReadEngine> engine_;
  LogSink log_;
  std::vector<Pending> pending_;  // by slot, which is the engine's tag
  std::vector<uint32_t> free_;    // slots that hold no read
  FlashReaderStats stats_;
  uint32_t in_flight_ = 0;
};

}  // namespace glint

#endif  // GLINT_STORAGE_FLASH_FLASH_READER_H_
