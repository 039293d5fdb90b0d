// Streams parts of one layer's bundles through staging, in ascending waves: plans the reads of a wave, submits them,
// and hands out bundles as they arrive, verified. A wave's bytes stay valid until the next wave begins.
#ifndef GLINT_STORAGE_CACHE_BUNDLE_STREAM_H_
#define GLINT_STORAGE_CACHE_BUNDLE_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "glint/base/ids.h"
#include "glint/base/status.h"
#include "storage/flash/read_plan.h"
#include "storage/format/model_file.h"

namespace glint {

// A bundle whose bytes are in memory and verified. A part that was not asked for is null.
struct BundleView {
  BundleIndex bundle;
  const std::byte* first = nullptr;  // first granule
  const std::byte* rest = nullptr;   // rest granule
};

struct BundleStreamOptions {
  uint64_t gap_bytes_max = 8 * kKiB;  // 0: gaps off
  uint64_t chunk_bytes_max = 1 * kMiB;
};

struct BundleStreamStats {
  uint64_t missed_bundle_bytes = 0;  // bytes of parts asked for
  uint64_t stall_ns = 0;             // time that the caller waited for flash
  uint64_t verify_ns = 0;

  // What came after `before`.
  BundleStreamStats operator-(const BundleStreamStats& before) const {
    return {.missed_bundle_bytes = missed_bundle_bytes - before.missed_bundle_bytes,
            .stall_ns = stall_ns - before.stall_ns,
            .verify_ns = verify_ns - before.verify_ns};
  }
};

// What a layer's FFN looks like on flash. Const after open; the checksums live in the model's tables.
struct FfnOnFlash {
  const FfnEntry* entry = nullptr;
  std::span<const uint64_t> first_checksums;
  std::span<const uint64_t> rest_checksums;
};

// Thread-compatible. Nothing allocates after construction, but the message of an error.
//
// Invariants: a byte is handed out only after its granule's checksum held; staging is written to only by reads that
// this stream started and has not seen the end of, so never after End.
class BundleStream {
 public:
  // REQUIRES: staging is page-aligned and holds StagingBytesMin of every layout that will be streamed; bundle_count_max
  // is the most bundles of any layer; file and staging outlive this.
  BundleStream(ModelFile* file, std::span<std::byte> staging, uint32_t bundle_count_max,
               const BundleStreamOptions& options);

  // Staging that one bundle needs at any alignment.
  static uint64_t StagingBytesMin(const BundleLayout& layout);
  // Heap bytes of the tables, for the budget.
  static uint64_t HeldBytes(uint32_t bundle_count_max);

  // Begins streaming `part` of `bundles` (ascending, no duplicates; copied). REQUIRES: nothing is streaming.
  void Begin(const FfnOnFlash& ffn, BundlePart part, std::span<const BundleIndex> bundles);
  // Begins the next wave: the longest ascending run of what is left that fits staging. Returns its bundles, empty when
  // all are done. The bytes of the wave before are gone. Reads are started before it returns. REQUIRES: that wave has
  // arrived. After an error of this or of Arrivals only End may be called.
  Result<std::span<const BundleIndex>> NextWave();
  // Waits for at least one bundle of the wave and returns those that arrived since the last call, in order of arrival,
  // at most about kArrivalBytes of them; empty when the whole wave has been returned. Views stay valid until NextWave.
  // Reads that follow are kept going. kCorruptData names file, offset, bundle, wanted, got.
  Result<std::span<const BundleView>> Arrivals();
  // Ends streaming, also in the middle of a wave or after an error: waits until no read lands in staging any more.
  // REQUIRES: Begin was called.
  void End();

  const BundleStreamStats& stats() const { return stats_; }

 private:
  // What one call of Arrivals verifies at most before it hands out, unless one chunk alone is longer: small enough that
  // the queue is topped up often, large enough that a fork-join over it pays.
  static constexpr uint64_t kArrivalBytes = 256 * kKiB;
  static constexpr uint32_t kChunksPerWaveMax = 4096;

  static uint32_t ChunksMax(uint32_t bundle_count_max);
  bool WaveArrived() const { return arrivals_.size() == wave_end_ - wave_begin_; }
  Status TopUp();        // starts reads as far as the queue goes
  Status AwaitChunks();  // collects the chunks that ended; waits for one where none is ready
  Status HandOut(uint32_t wanted_index, const Chunk& chunk);  // verifies, then appends to arrivals_

  ModelFile* file_;
  std::span<std::byte> staging_;
  uint32_t bundle_count_max_;
  BundleStreamOptions options_;
  BundleStreamStats stats_;

  // What is streamed: all of it, and where the wave stands in it.
  bool streaming_ = false;
  bool failed_ = false;
  FfnOnFlash ffn_;
  BundlePart part_ = BundlePart::kWhole;
  std::vector<BundleIndex> bundles_;
  std::vector<Extent> wanted_;  // by bundle of bundles_; in the file
  uint32_t wave_begin_ = 0;     // the wave is bundles_[wave_begin_, wave_end_)
  uint32_t wave_end_ = 0;

  // The wave's reads.
  std::vector<Chunk> chunks_;         // chunk.first counts from wave_begin_
  uint32_t chunks_started_ = 0;       // a prefix of chunks_
  std::vector<uint32_t> ended_;       // indices into chunks_, in order of arrival
  uint32_t ended_handed_out_ = 0;     // a prefix of ended_
  std::vector<BundleView> arrivals_;  // of the wave, in order of arrival
};

}  // namespace glint

#endif  // GLINT_STORAGE_CACHE_BUNDLE_STREAM_H_
