// Which bundles of one layer hold a slot, and what happens to them at a token. A pure decider: no file, no clock, no
// memory but its own tables. After the sliding window of "LLM in a flash" (arXiv 2312.11514, section 3.1).
//
// Invariants: a bundle has at most one slot; a bundle of the current active set is never evicted; what is kept is what
// the last `window_tokens` steps used, the most recent first, as far as the layer's slots go (ties: what already has a
// slot, then the lowest index, so that a cyclic use of more bundles than slots keeps a fixed prefix).
#ifndef GLINT_STORAGE_CACHE_RESIDENCY_H_
#define GLINT_STORAGE_CACHE_RESIDENCY_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "glint/base/ids.h"

namespace glint {

class Residency {
 public:
  // The layer has `bundle_count` bundles and the slots [first_slot, first_slot + slot_count). window_tokens == 0: keeps
  // nothing.
  Residency(uint32_t bundle_count, SlotIndex first_slot, uint32_t slot_count, uint32_t window_tokens);

  // One member of the active set, as decided.
  struct Placement {
    BundleIndex bundle;
    bool hit = false;  // resident: its bytes are in `slot`
    std::optional<SlotIndex>
        slot;  // a miss with a slot is to be copied there and then marked with Loaded; without: not kept
  };

  // Begins a step: decides for `active` (ascending, no duplicates), evicts what must make room, reserves slots for what
  // is to be kept. Writes one placement per member, in order. Does not allocate. REQUIRES: no step is open.
  void BeginStep(std::span<const BundleIndex> active, std::vector<Placement>* placements);
  // The bytes of a reserved bundle are in its slot and verified.
  void Loaded(BundleIndex bundle);
  // Ends the step; reservations that were not Loaded (an error, a cancellation) are given up.
  void EndStep();

  uint32_t resident_count() const;
  std::optional<SlotIndex> SlotOf(BundleIndex bundle) const;  // resident ones only
  uint32_t slot_count() const { return slot_count_; }
  // Heap bytes of the tables for a layer of `bundle_count` bundles and `slot_count` slots, for the budget.
  static uint64_t HeldBytes(uint32_t bundle_count, uint32_t slot_count);

 private:
  uint32_t slot_count_;
  // the rest is the implementation's
};

}  // namespace glint

#endif  // GLINT_STORAGE_CACHE_RESIDENCY_H_
