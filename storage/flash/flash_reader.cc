#include "storage/flash/flash_reader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "glint/base/text.h"
#include "glint/base/units.h"

namespace glint {

namespace {

constexpr uint32_t kLanes = 16;
// Of the retries in a row, so many come at once; before each further one the device is given a millisecond.
constexpr uint32_t kReadRetriesAtOnce = 8;

// ECANCELED and EFAULT: the thread that submitted the read has ended, and io_uring gave up what needed that thread.
// Where the address is truly bad, the retries end in the same EFAULT.
bool IsPutOff(int error) { return error == EAGAIN || error == EINTR || error == ECANCELED || error == EFAULT; }

// What direct I/O answers where a file system takes O_DIRECT at open and refuses it at a read.
bool IsRefused(int error) { return error == EINVAL || error == EOPNOTSUPP; }

std::string Describe(const FlashFile& file, const ReadEngine& engine) {
  std::string line = Concat("reading with ", engine.name(), ", depth ", engine.queue_depth_max());
  return file.direct() ? Concat(line, ", direct I/O, alignment ", file.alignment())
                       : Concat(line, ", through the page cache");
}

}  // namespace

// A read on its way. Bytes [0, done_bytes) of it are in place; the engine reads on from attempt_start.
struct FlashReader::Pending {
  FlashRead read;
  uint32_t wanted_bytes = 0;    // up to the end of the file at most
  uint32_t done_bytes = 0;      // less than furthest_bytes where an attempt may have spoilt what was read before
  uint32_t furthest_bytes = 0;  // what any attempt has reached; less is nothing new
  uint32_t attempt_start = 0;   // done_bytes, aligned down where the attempt is direct
  uint32_t retries = 0;         // in a row, without anything new
  bool direct = false;          // whether the attempt is
};

Result<std::unique_ptr<FlashReader>> FlashReader::Open(FlashFile file, IoEngineKind kind, const LogSink& log) {
  std::unique_ptr<ReadEngine> engine;
  std::string why_not_uring;
  if (kind != IoEngineKind::kPread) {
    Result<std::unique_ptr<ReadEngine>> uring = OpenUringEngine(kQueueDepthMax);
    if (uring.ok()) {
      engine = std::move(uring).value();
    } else if (kind == IoEngineKind::kUring) {
      return uring.status();
    } else {
      why_not_uring = Concat(", not uring: ", uring.status().message());
    }
  }
  if (engine == nullptr) {
    GLINT_ASSIGN_OR_RETURN(engine, OpenPreadEngine(kQueueDepthMax, kLanes));
  }
  if (log) log(Concat(Describe(file, *engine), why_not_uring));
  return Create(std::move(file), std::move(engine), log);
}

std::unique_ptr<FlashReader> FlashReader::Create(FlashFile file, std::unique_ptr<ReadEngine> engine, LogSink log) {
  return std::unique_ptr<FlashReader>(new FlashReader(std::move(file), std::move(engine), std::move(log)));
}

FlashReader::FlashReader(FlashFile file, std::unique_ptr<ReadEngine> engine, LogSink log)
    : file_(std::move(file)), engine_(std::move(engine)), log_(std::move(log)) {
  const uint32_t depth = engine_->queue_depth_max();
  GLINT_CHECK(depth >= 1 && depth <= kQueueDepthMax);
  pending_.resize(depth);
  free_.reserve(depth);
  Forget();
}

FlashReader::~FlashReader() { Drain(); }

std::string_view FlashReader::engine_name() const { return engine_->name(); }

uint32_t FlashReader::queue_depth_max() const { return engine_->queue_depth_max(); }

uint64_t FlashReader::held_bytes() const {
  return engine_->held_bytes() + pending_.capacity() * sizeof(Pending) + free_.capacity() * sizeof(uint32_t);
}

Status FlashReader::Submit(std::span<const FlashRead> reads) {
  GLINT_CHECK(reads.size() <= free_.size());
  for (const FlashRead& read : reads) {
    GLINT_CHECK(read.bytes > 0);
    const uint64_t there = read.offset < file_.bytes() ? file_.bytes() - read.offset : 0;
    if (there == 0 || read.bytes >= there + file_.alignment()) {
      return file_.ReadError(read.offset, read.bytes, there, "the file ends there");
    }
    GLINT_CHECK(!file_.direct() ||
                (read.offset | read.bytes | reinterpret_cast<uintptr_t>(read.into)) % file_.alignment() == 0);
  }
  std::array<RawRead, kQueueDepthMax> raw;
  uint32_t count = 0;
  for (const FlashRead& read : reads) {
    const uint32_t slot = free_.back();
    free_.pop_back();
    const uint64_t there = file_.bytes() - read.offset;
    pending_[slot] = {.read = read, .wanted_bytes = static_cast<uint32_t>(std::min<uint64_t>(read.bytes, there))};
    raw[count++] = NextRawRead(slot);
  }
  in_flight_ += count;
  Status started = engine_->Start({raw.data(), count});
  if (!started.ok()) Forget();
  return started;
}

RawRead FlashReader::NextRawRead(uint32_t slot) {
  Pending& pending = pending_[slot];
  pending.direct = file_.direct();
  // Direct I/O goes on only from where a block begins; what was read of that block is read again. The page cache takes
  // any place, and is not asked for what lies beyond the end.
  pending.attempt_start =
      pending.direct ? static_cast<uint32_t>(AlignDown(pending.done_bytes, file_.alignment())) : pending.done_bytes;
  const uint32_t end = pending.direct ? pending.read.bytes : pending.wanted_bytes;
  const RawRead raw = {.fd = file_.fd(),
                       .offset = file_.base_offset() + pending.read.offset + pending.attempt_start,
                       .into = pending.read.into + pending.attempt_start,
                       .bytes = end - pending.attempt_start,
                       .tag = slot};
  stats_.flash_read_bytes += raw.bytes;
  ++stats_.flash_reads;
  return raw;
}

Result<bool> FlashReader::TakeResult(const RawResult& result) {
  Pending& pending = pending_[result.tag];
  const FlashRead& read = pending.read;
  if (result.result < 0) {
    const int error = -result.result;
    // A failed attempt may have written anywhere from its start on.
    pending.done_bytes = pending.attempt_start;
    if (pending.direct && IsRefused(error)) {
      if (file_.direct() && log_) {
        log_(Concat(Quote(file_.name()), " is read through the page cache from now on: a direct read at offset ",
                    read.offset + pending.attempt_start, " was refused (errno ", error, ")"));
      }
      file_.DistrustDirect();
    } else if (!IsPutOff(error) || ++pending.retries > kReadRetriesMax) {
      return file_.ReadError(read.offset, pending.wanted_bytes, pending.furthest_bytes, error);
    }
  } else if (result.result == 0) {
    return file_.ReadError(read.offset, pending.wanted_bytes, pending.furthest_bytes,
                           "the file has shrunk since it was opened");
  } else {
    const uint32_t reached = pending.attempt_start + static_cast<uint32_t>(result.result);
    // After a restart at a block's beginning this may be less than before: only the last attempt is believed.
    pending.done_bytes = std::min(reached, pending.wanted_bytes);
    if (pending.done_bytes == pending.wanted_bytes) {
      if (!pending.direct) file_.DropPages(read.offset, pending.wanted_bytes);
      return true;
    }
    pending.retries = reached > pending.furthest_bytes ? 0 : pending.retries + 1;
    pending.furthest_bytes = std::max(pending.furthest_bytes, reached);
    if (pending.retries > kReadRetriesMax) {
      return file_.ReadError(read.offset, pending.wanted_bytes, pending.furthest_bytes,
                             "reads keep ending there; the file may have shrunk since it was opened");
    }
  }
  if (pending.retries > kReadRetriesAtOnce) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const RawRead again = NextRawRead(result.tag);
  GLINT_RETURN_IF_ERROR(engine_->Start({&again, 1}));
  return false;
}

Result<uint32_t> FlashReader::Reap(std::span<uint32_t> tags, bool wait) {
  GLINT_CHECK(in_flight_ > 0 && !tags.empty());
  std::array<RawResult, kQueueDepthMax> results;
  const std::span<RawResult> room = std::span(results).first(std::min<size_t>(results.size(), tags.size()));
  while (true) {
    const Result<uint32_t> reaped = engine_->Reap(room, wait);
    if (!reaped.ok()) {
      Forget();
      return reaped.status();
    }
    uint32_t ended = 0;
    Status first_error;
    // All results are taken in, also after an error, so that in_flight_ stays what the engine has.
    for (const RawResult& result : room.first(*reaped)) {
      const Result<bool> whole = TakeResult(result);
      if (whole.ok() && !*whole) continue;
      if (whole.ok()) tags[ended++] = pending_[result.tag].read.tag;
      if (!whole.ok() && first_error.ok()) first_error = whole.status();
      free_.push_back(result.tag);
      --in_flight_;
    }
    if (!first_error.ok()) return first_error;
    if (ended > 0 || !wait) return ended;
  }
}

void FlashReader::Drain() {
  std::array<RawResult, kQueueDepthMax> results;
  while (in_flight_ > 0) {
    const Result<uint32_t> reaped = engine_->Reap(results, /*wait=*/true);
    if (!reaped.ok()) break;  // a broken engine has nothing in flight
    in_flight_ -= *reaped;
  }
  Forget();
}

void FlashReader::Forget() {
  in_flight_ = 0;
  free_.clear();
  for (uint32_t slot = 0; slot < pending_.size(); ++slot) free_.push_back(slot);
}

Status FlashReader::ReadAll(std::span<const FlashRead> reads) {
  GLINT_CHECK(in_flight_ == 0);
  std::array<uint32_t, kQueueDepthMax> tags;
  size_t submitted = 0;
  while (submitted < reads.size() || in_flight_ > 0) {
    const size_t count = std::min<size_t>(reads.size() - submitted, queue_depth_max() - in_flight_);
    Status status = count > 0 ? Submit(reads.subspan(submitted, count)) : Status::Ok();
    submitted += count;
    if (status.ok()) status = Reap(tags, /*wait=*/true).status();
    if (!status.ok()) {
      Drain();
      return status;
    }
  }
  return Status::Ok();
}

Status FlashReader::ReadAgainBuffered(uint64_t offset, std::span<std::byte> into) {
  stats_.flash_read_bytes += into.size();
  ++stats_.flash_reads;
  return file_.ReadBuffered(offset, into);
}

void FlashReader::DistrustDirect(uint64_t offset) {
  if (log_) {
    log_(Concat("bytes at offset ", offset, " of ", Quote(file_.name()),
                " held their checksum only when read again through the page cache",
                file_.direct() ? "; it is read that way from now on" : ""));
  }
  file_.DistrustDirect();
}

}  // namespace glint
