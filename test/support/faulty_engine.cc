#include "test/support/faulty_engine.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "glint/base/check.h"

namespace glint::test {

namespace {

constexpr int kGarbage = 0xA5;

bool IsDirect(int fd) {
#ifdef O_DIRECT
  return (fcntl(fd, F_GETFL) & O_DIRECT) != 0;
#else
  return fd < 0;
#endif
}

}  // namespace

FaultyEngine::FaultyEngine(FaultyEngineOptions options) : options_(std::move(options)), random_(options_.seed) {}

Status FaultyEngine::Start(std::span<const RawRead> reads) {
  GLINT_CHECK(in_flight_.size() + reads.size() <= options_.queue_depth_max);
  for (const RawRead& read : reads) {
    if (started_ >= options_.breaks_after_reads) {
      broken_ = IoError("the faulty engine is broken");
      in_flight_.clear();
      return broken_;
    }
    ++started_;
    std::memset(read.into, kGarbage, read.bytes);
    in_flight_.push_back(read);
  }
  return Status::Ok();
}

Result<uint32_t> FaultyEngine::Reap(std::span<RawResult> out, bool wait) {
  if (!broken_.ok()) return broken_;
  GLINT_CHECK(!in_flight_.empty() && !out.empty());
  uint64_t count = std::min(out.size(), in_flight_.size());
  if (options_.shuffle) {
    for (size_t i = in_flight_.size() - 1; i > 0; --i) std::swap(in_flight_[i], in_flight_[UpTo(i)]);
    count = wait ? 1 + UpTo(count - 1) : UpTo(count);
  }
  for (uint64_t i = 0; i < count; ++i) {
    out[i] = {.tag = in_flight_[i].tag, .result = Perform(in_flight_[i])};
  }
  in_flight_.erase(in_flight_.begin(), in_flight_.begin() + static_cast<ptrdiff_t>(count));
  return static_cast<uint32_t>(count);
}

int32_t FaultyEngine::Perform(const RawRead& read) {
  if (Chance(options_.again)) return -EAGAIN;
  if (Chance(options_.interrupted)) return -EINTR;
  uint64_t bytes = read.bytes;
  if (bytes > 1 && Chance(options_.short_read)) bytes = 1 + UpTo(bytes - 2);
  const bool direct = IsDirect(read.fd);
  const auto strikes = [&](const Fault& fault, uint64_t end) {
    return fault.times > 0 && fault.offset < end && (direct || !fault.direct_only);
  };
  const auto use_up = [](Fault* fault) {
    if (fault->times != Fault::kAlways) --fault->times;
  };
  for (Fault& fault : options_.faults) {
    if (fault.kind == Fault::Kind::kEnd && strikes(fault, read.offset + bytes)) {
      bytes = fault.offset - std::min(fault.offset, read.offset);
      use_up(&fault);
    }
  }
  for (Fault& fault : options_.faults) {
    if (fault.kind == Fault::Kind::kError && fault.offset >= read.offset && strikes(fault, read.offset + bytes)) {
      use_up(&fault);
      return -fault.error;
    }
  }
  if (bytes == 0) return 0;
  // The real read is whole, as direct I/O wants it; what is beyond `bytes` is made garbage again.
  const ssize_t got = pread(read.fd, read.into, read.bytes, static_cast<off_t>(read.offset));
  if (got < 0) return -errno;
  const uint64_t brought = std::min(bytes, static_cast<uint64_t>(got));
  std::memset(read.into + brought, kGarbage, read.bytes - brought);
  for (Fault& fault : options_.faults) {
    if (fault.kind == Fault::Kind::kCorrupt && fault.offset >= read.offset && strikes(fault, read.offset + brought)) {
      read.into[fault.offset - read.offset] ^= std::byte{0xFF};
      use_up(&fault);
    }
  }
  return static_cast<int32_t>(brought);
}

bool FaultyEngine::Chance(double probability) {
  // Own arithmetic, here and below: the standard library's distributions and shuffle differ between its makers.
  return static_cast<double>(random_() >> 11) * 0x1p-53 < probability;
}

uint64_t FaultyEngine::UpTo(uint64_t max) { return max == UINT64_MAX ? random_() : random_() % (max + 1); }

}  // namespace glint::test
