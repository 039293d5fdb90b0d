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
  uint32_t alignment = 1;  // power of two; each chunk's offset and bytes are multiples of it
  // Bytes between two aligned-out extents worth reading to join them; 0: joins what touches, or shares an aligned
  // block.
  uint64_t gap_bytes_max = 0;
  // A chunk is longer only where one extent alone is, or where parting it would read an aligned block twice.
  uint64_t chunk_bytes_max = 1 << 20;
  uint64_t staging_bytes = 0;  // what all chunks of one plan may hold together
  uint32_t chunks_max = 1u << 20;
};

struct Chunk {
  Extent extent;                // aligned
  uint64_t staging_offset = 0;  // where it lands in staging; aligned
  uint32_t first = 0;           // the wanted extents [first, first + count) lie in it
  uint32_t count = 0;
};

// Plans reads for the longest prefix of `wanted` (ascending, not empty, not overlapping) whose chunks, joined one after
// the other as early as the options allow, fit staging_bytes and chunks_max; writes them to `chunks` (cleared first;
// does not allocate where its capacity suffices) and returns how many extents they cover. Every wanted byte is covered
// once, no byte twice. REQUIRES: one aligned-out extent fits staging_bytes, chunks_max > 0.
uint32_t PlanReads(std::span<const Extent> wanted, const ReadPlanOptions& options, std::vector<Chunk>* chunks);

}  // namespace glint

#endif  // GLINT_STORAGE_FLASH_READ_PLAN_H_
