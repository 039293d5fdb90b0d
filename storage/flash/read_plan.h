// Which reads fetch a list of wanted extents: neighbours are joined, also across gaps where that is cheaper than
// another read. Pure: no file, no clock.
#ifndef GLINT_STORAGE_FLASH_READ_PLAN_H_
#define GLINT_STORAGE_FLASH_READ_PLAN_H_

#include <cstdint>
#include <span>
#include <vector>

#include "storage/flash/extent.h"

namespace glint {

struct ReadPlanOptions {
  uint32_t alignment = 1;              // power of two; each chunk's offset and bytes are multiples of it
  uint64_t gap_bytes_max = 0;          // unwanted bytes worth reading to join two chunks; 0: only touching extents join
  uint64_t chunk_bytes_max = 1 << 20;  // a chunk is longer only where one extent alone is
  uint64_t staging_bytes = 0;          // what all chunks of one plan may hold together
  uint32_t chunks_max = 1u << 20;
};

struct Chunk {
  Extent extent;                // aligned
  uint64_t staging_offset = 0;  // where it lands in staging; aligned
  uint32_t first = 0;           // the wanted extents [first, first + count) lie in it
  uint32_t count = 0;
};

// Plans reads for the longest prefix of `wanted` (ascending, not overlapping) whose chunks fit staging_bytes; writes
// them to `chunks` (cleared first; does not allocate where its capacity suffices) and returns how many extents they
// cover. Every wanted byte is covered once, no byte twice. REQUIRES: one aligned-out extent fits staging_bytes.
uint32_t PlanReads(std::span<const Extent> wanted, const ReadPlanOptions& options, std::vector<Chunk>* chunks);

}  // namespace glint

#endif  // GLINT_STORAGE_FLASH_READ_PLAN_H_
