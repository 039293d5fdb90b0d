// A read engine over the real file that misbehaves as told: for the order of arrival alone, and for every fault that
// FlashReader and what verifies its bytes must withstand. Equal seeds and calls give equal behaviour.
#ifndef GLINT_TEST_SUPPORT_FAULTY_ENGINE_H_
#define GLINT_TEST_SUPPORT_FAULTY_ENGINE_H_

#include <cerrno>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "storage/flash/read_engine.h"

namespace glint::test {

// What happens to reads that cover the byte at `offset`.
struct Fault {
  enum class Kind {
    kError,    // the read ends with -error
    kCorrupt,  // the byte arrives with all of its bits flipped
    kEnd,      // the file ends before this byte: reads stop there, and bring 0 bytes from there on
  };
  static constexpr uint32_t kAlways = UINT32_MAX;

  Kind kind = Kind::kError;
  uint64_t offset = 0;       // of the underlying file
  int error = EIO;           // for kError
  uint32_t times = kAlways;  // then it is over
  bool direct_only = false;  // strikes only descriptors opened with O_DIRECT
};

// The defaults are without any fault: reads end in a random order and in batches of random sizes.
struct FaultyEngineOptions {
  uint64_t seed = 1;
  uint32_t queue_depth_max = 16;
  bool shuffle = true;  // false: reads end in the order of their start, all that there is room for at once
  // Probabilities, for each read on its own.
  double short_read = 0;   // brings at least one byte and fewer than asked
  double again = 0;        // ends with -EAGAIN
  double interrupted = 0;  // ends with -EINTR
  std::vector<Fault> faults;
  // The engine itself breaks when it is given the read after so many: Start fails, and so does all that follows.
  uint64_t breaks_after_reads = UINT64_MAX;
};

// Buffers are filled with garbage (0xA5) when their read starts and read into when it ends, so that bytes used before
// they arrived, or kept of an attempt that was given up, do not pass for right. Allocates; not for allocation counts.
class FaultyEngine final : public ReadEngine {
 public:
  explicit FaultyEngine(FaultyEngineOptions options);

  std::string_view name() const override { return "faulty"; }
  uint32_t queue_depth_max() const override { return options_.queue_depth_max; }
  uint64_t held_bytes() const override { return 0; }
  Status Start(std::span<const RawRead> reads) override;
  Result<uint32_t> Reap(std::span<RawResult> out, bool wait) override;

 private:
  int32_t Perform(const RawRead& read);
  bool Chance(double probability);
  uint64_t UpTo(uint64_t max);  // 0 .. max, both possible

  FaultyEngineOptions options_;
  std::mt19937_64 random_;
  std::vector<RawRead> in_flight_;
  uint64_t started_ = 0;
  Status broken_;
};

inline std::unique_ptr<ReadEngine> MakeFaultyEngine(FaultyEngineOptions options) {
  return std::make_unique<FaultyEngine>(std::move(options));
}

}  // namespace glint::test

#endif  // GLINT_TEST_SUPPORT_FAULTY_ENGINE_H_
