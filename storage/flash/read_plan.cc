#include "storage/flash/read_plan.h"

#include <bit>

#include "glint/base/check.h"
#include "glint/base/units.h"

namespace glint {

namespace {

// Whether the aligned extent `next`, which does not begin before `chunk`, is read together with it.
bool Joins(const Extent& chunk, const Extent& next, const ReadPlanOptions& options) {
  // A shared block would be read twice otherwise.
  if (next.offset < chunk.end()) return true;
  return next.offset - chunk.end() <= options.gap_bytes_max && next.end() - chunk.offset <= options.chunk_bytes_max;
}

}  // namespace

uint32_t PlanReads(std::span<const Extent> wanted, const ReadPlanOptions& options, std::vector<Chunk>* chunks) {
  GLINT_CHECK(std::has_single_bit(options.alignment));
  chunks->clear();
  uint64_t staged_bytes = 0;  // of all chunks so far
  uint32_t covered = 0;
  for (const Extent& extent : wanted) {
    GLINT_DCHECK(extent.bytes > 0 && (covered == 0 || wanted[covered - 1].end() <= extent.offset));
    const uint64_t start = AlignDown(extent.offset, options.alignment);
    const Extent aligned = {.offset = start, .bytes = AlignUp(extent.end(), options.alignment) - start};
    const bool joins = !chunks->empty() && Joins(chunks->back().extent, aligned, options);
    // An extent inside blocks that are read already ends where the chunk does: it adds nothing.
    const uint64_t added_bytes = joins ? aligned.end() - chunks->back().extent.end() : aligned.bytes;
    if (added_bytes > options.staging_bytes - staged_bytes) break;
    if (joins) {
      chunks->back().extent.bytes += added_bytes;
      ++chunks->back().count;
    } else {
      if (chunks->size() >= options.chunks_max) break;
      chunks->push_back({.extent = aligned, .staging_offset = staged_bytes, .first = covered, .count = 1});
    }
    staged_bytes += added_bytes;
    ++covered;
  }
  GLINT_CHECK(wanted.empty() || covered > 0);
  return covered;
}

}  // namespace glint
