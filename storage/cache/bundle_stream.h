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
};

// What a layer's FFN looks like on flash. Const after open; the checksums live in the model's tables.
struct FfnOnFlash {
  const FfnEntry* entry = nullptr;
  std::span<const uint64_t> first_checksums;
  std::span<const uint64_t> rest_checksums;
};

// Thread-compatible. Nothing allocates after construction.
class BundleStream {
 public:
  // REQUIRES: staging is page-aligned and holds StagingBytesMin of every layout that will be streamed; bundle_count_max
  // is the most bundles of any layer. Both outlive this.
  BundleStream(ModelFile* file, std::span<std::byte> staging, uint32_t bundle_count_max,
               const BundleStreamOptions& options);

  // Staging that one bundle needs at any alignment.
  static uint64_t StagingBytesMin(const BundleLayout& layout);
  // Heap bytes of the tables, for the budget.
  static uint64_t HeldBytes(uint32_t bundle_count_max);

  // Begins streaming `part` of `bundles` (ascending, no duplicates; copied). REQUIRES: nothing is streaming.
  void Begin(const FfnOnFlash& ffn, BundlePart part, std::span<const BundleIndex> bundles);
  // Begins the next wave: the longest ascending run of what is left that fits staging. Returns its bundles, empty when
  // all are done. The bytes of the wave before are gone. REQUIRES: that wave has arrived.
  Result<std::span<const BundleIndex>> NextWave();
  // Waits for at least one bundle of the wave and returns those that arrived since the last call, in order of arrival;
  // empty when the whole wave has. Views stay valid until NextWave. Reads that follow are kept going.
  Result<std::span<const BundleView>> Arrivals();
  // Ends streaming, also in the middle of a wave or after an error: waits until no read lands in staging any more.
  void End();

  const BundleStreamStats& stats() const { return stats_; }

 private:
  BundleStreamStats stats_;
  // the rest is the implementation's
};

}  // namespace glint

#endif  // GLINT_STORAGE_CACHE_BUNDLE_STREAM_H_
