// Which bundles of one layer hold a slot, and what happens to them at a token. A pure decider: no file, no clock, no
// memory but its own tables. After the sliding window of "LLM in a flash" (arXiv 2312.11514, section 3.1).
//
// Invariants: a bundle has at most one slot; a bundle of the current active set is never evicted; what is kept is what
// the last `window_tokens` steps used, the most recent first, as far as the layer's slots go (ties: what already has a
// slot, then the lowest index, so that a cyclic use of more bundles than slots keeps a fixed prefix).
#ifndef GLINT_STORAGE_CACHE_RESIDENCY_H_
#define GLINT_STORAGE_CACHE_RESIDENCY_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "glint/base/ids.h"

namespace glint {

// A window of all tokens so far: what was used least recently makes room, and nothing leaves before its room is needed.
// The default, since a shorter window only leaves slots empty; those are for comparing with the paper's.
inline constexpr uint32_t kWindowUnbounded = std::numeric_limits<uint32_t>::max();

class Residency {
 public:
  // The layer has `bundle_count` bundles and the slots [first_slot, first_slot + slot_count). What was last used w
  // steps ago is kept only where w < window_tokens; 0 keeps nothing.
  Residency(uint32_t bundle_count, SlotIndex first_slot, uint32_t slot_count, uint32_t window_tokens);

  // One member of the active set, as decided.
  struct Placement {
    BundleIndex bundle;
    bool hit = false;  // resident: its bytes are in `slot`
    // A miss with a slot is to be copied there and then marked with Loaded; a miss without is not kept.
    std::optional<SlotIndex> slot;
  };

  // Begins a step: decides for `active` (ascending, no duplicates), evicts what must make room, reserves slots for what
  // is to be kept. Writes one placement per member, in order; does not allocate where the capacity of `placements`
  // suffices. Takes time in proportion to the active set and to what it evicts. REQUIRES: no step is open.
  void BeginStep(std::span<const BundleIndex> active, std::vector<Placement>* placements);
  // The bytes of a reserved bundle are in its slot and verified. REQUIRES: a step is open and reserved it.
  void Loaded(BundleIndex bundle);
  // Ends the step; reservations that were not Loaded (an error, a cancellation) are given up. REQUIRES: a step is open.
  void EndStep();

  uint32_t resident_count() const { return resident_count_; }
  std::optional<SlotIndex> SlotOf(BundleIndex bundle) const;  // resident ones only
  uint32_t slot_count() const { return slot_count_; }
  // Heap bytes of the tables for a layer of `bundle_count` bundles and `slot_count` slots, for the budget.
  static uint64_t HeldBytes(uint32_t bundle_count, uint32_t slot_count);

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  // A bundle is absent (no slot), loading or resident, and nothing else.
  enum class SlotState : uint8_t { kFree, kLoading, kResident };

  // Slots that hold a bundle form a list, the most recently used first, bundles of one step ascending: the order in
  // which they are kept. Free slots form another through `older`.
  struct Slot {
    uint64_t last_used_step = 0;
    uint32_t bundle = kNone;
    uint32_t newer = kNone;
    uint32_t older = kNone;
    SlotState state = SlotState::kFree;
  };

  void InsertAfter(uint32_t newer, uint32_t slot);  // kNone: as the newest
  void Unlink(uint32_t slot);
  uint32_t TakeFree();
  void Release(uint32_t slot);  // unlinks; its bundle is absent from now on
  void EvictFor(uint32_t kept_max);
  bool Consistent() const;

  uint32_t slot_count_;
  SlotIndex first_slot_;
  uint32_t window_tokens_;
  std::vector<uint32_t> slot_of_bundle_;  // by bundle: index into slots_, kNone where absent
  std::vector<Slot> slots_;               // empty where the window keeps nothing
  uint32_t newest_ = kNone;
  uint32_t oldest_ = kNone;
  uint32_t free_ = kNone;
  uint32_t listed_count_ = 0;
  uint32_t resident_count_ = 0;
  uint64_t step_ = 0;
  bool step_open_ = false;
};

}  // namespace glint

#endif  // GLINT_STORAGE_CACHE_RESIDENCY_H_
