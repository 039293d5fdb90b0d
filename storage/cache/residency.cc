#include "storage/cache/residency.h"

#include <algorithm>

#include "glint/base/check.h"

namespace glint {

Residency::Residency(uint32_t bundle_count, SlotIndex first_slot, uint32_t slot_count, uint32_t window_tokens)
    : slot_count_(slot_count),
      first_slot_(first_slot),
      window_tokens_(window_tokens),
      slot_of_bundle_(bundle_count, kNone),
      slots_(window_tokens == 0 ? 0 : slot_count) {
  GLINT_CHECK(slot_count < kNone && bundle_count < kNone);
  for (uint32_t i = static_cast<uint32_t>(slots_.size()); i-- > 0;) {
    slots_[i].older = free_;
    free_ = i;
  }
}

void Residency::BeginStep(std::span<const BundleIndex> active, std::vector<Placement>* placements) {
  GLINT_CHECK(!step_open_);
  step_open_ = true;
  ++step_;

  // Hits leave the list first, so that what is left in it is what may be evicted.
  uint32_t hit_count = 0;
  placements->clear();
  for (size_t i = 0; i < active.size(); ++i) {
    const BundleIndex bundle = active[i];
    GLINT_CHECK(bundle.value < slot_of_bundle_.size() && (i == 0 || active[i - 1] < bundle));
    const uint32_t slot = slot_of_bundle_[bundle.value];
    const bool hit = slot != kNone;
    if (hit) {
      Unlink(slot);
      slots_[slot].last_used_step = step_;
      ++hit_count;
    }
    placements->push_back({.bundle = bundle, .hit = hit, .slot = std::nullopt});
  }

  const uint32_t slots_left = static_cast<uint32_t>(slots_.size()) - hit_count;
  const uint32_t reserved_max = std::min(slots_left, static_cast<uint32_t>(active.size()) - hit_count);
  EvictFor(slots_left - reserved_max);

  uint32_t reserved = 0;
  uint32_t previous = kNone;
  for (Placement& placement : *placements) {
    uint32_t slot = slot_of_bundle_[placement.bundle.value];
    if (!placement.hit) {
      if (reserved == reserved_max) continue;
      ++reserved;
      slot = TakeFree();
      slots_[slot].bundle = placement.bundle.value;
      slots_[slot].last_used_step = step_;
      slots_[slot].state = SlotState::kLoading;
      slot_of_bundle_[placement.bundle.value] = slot;
    }
    InsertAfter(previous, slot);
    previous = slot;
    placement.slot = SlotIndex(first_slot_.value + slot);
  }
  GLINT_DCHECK(Consistent());
}

void Residency::Loaded(BundleIndex bundle) {
  GLINT_CHECK(step_open_ && bundle.value < slot_of_bundle_.size());
  const uint32_t slot = slot_of_bundle_[bundle.value];
  GLINT_CHECK(slot != kNone && slots_[slot].state == SlotState::kLoading);
  slots_[slot].state = SlotState::kResident;
  ++resident_count_;
}

void Residency::EndStep() {
  GLINT_CHECK(step_open_);
  step_open_ = false;
  // What this step placed is at the head of the list.
  for (uint32_t slot = newest_; slot != kNone && slots_[slot].last_used_step == step_;) {
    const uint32_t next = slots_[slot].older;
    if (slots_[slot].state == SlotState::kLoading) Release(slot);
    slot = next;
  }
  GLINT_DCHECK(Consistent());
}

std::optional<SlotIndex> Residency::SlotOf(BundleIndex bundle) const {
  GLINT_CHECK(bundle.value < slot_of_bundle_.size());
  const uint32_t slot = slot_of_bundle_[bundle.value];
  if (slot == kNone || slots_[slot].state != SlotState::kResident) return std::nullopt;
  return SlotIndex(first_slot_.value + slot);
}

uint64_t Residency::HeldBytes(uint32_t bundle_count, uint32_t slot_count) {
  return uint64_t{bundle_count} * sizeof(uint32_t) + uint64_t{slot_count} * sizeof(Slot);
}

// Keeps the `kept_max` most recent that the window still covers. The list is in that order, so both limits cut it at
// its end.
void Residency::EvictFor(uint32_t kept_max) {
  while (oldest_ != kNone) {
    const uint64_t age = step_ - slots_[oldest_].last_used_step;
    GLINT_CHECK(age > 0);  // an active bundle is never evicted
    if (listed_count_ <= kept_max && age < window_tokens_) break;
    --resident_count_;
    Release(oldest_);
  }
}

void Residency::InsertAfter(uint32_t newer, uint32_t slot) {
  const uint32_t older = newer == kNone ? newest_ : slots_[newer].older;
  slots_[slot].newer = newer;
  slots_[slot].older = older;
  (newer == kNone ? newest_ : slots_[newer].older) = slot;
  (older == kNone ? oldest_ : slots_[older].newer) = slot;
  ++listed_count_;
}

void Residency::Unlink(uint32_t slot) {
  const uint32_t newer = slots_[slot].newer;
  const uint32_t older = slots_[slot].older;
  (newer == kNone ? newest_ : slots_[newer].older) = older;
  (older == kNone ? oldest_ : slots_[older].newer) = newer;
  --listed_count_;
}

uint32_t Residency::TakeFree() {
  const uint32_t slot = free_;
  GLINT_CHECK(slot != kNone && slots_[slot].state == SlotState::kFree);
  free_ = slots_[slot].older;
  return slot;
}

void Residency::Release(uint32_t slot) {
  Unlink(slot);
  slot_of_bundle_[slots_[slot].bundle] = kNone;
  slots_[slot] = {.older = free_};
  free_ = slot;
}

// Whether the tables agree: each slot is free or holds one bundle that knows it, and the list is in its order.
bool Residency::Consistent() const {
  uint32_t listed = 0;
  uint32_t resident = 0;
  for (uint32_t slot = newest_; slot != kNone; slot = slots_[slot].older) {
    const Slot& held = slots_[slot];
    if (++listed > slots_.size() || held.state == SlotState::kFree || slot_of_bundle_[held.bundle] != slot)
      return false;
    if (held.state == SlotState::kLoading && !step_open_) return false;
    if (held.state == SlotState::kResident) ++resident;
    if (held.older == kNone) continue;
    const Slot& next = slots_[held.older];
    if (held.last_used_step < next.last_used_step) return false;
    if (held.last_used_step == next.last_used_step && held.bundle >= next.bundle) return false;
  }
  uint32_t free = 0;
  for (uint32_t slot = free_; slot != kNone; slot = slots_[slot].older) {
    if (++free > slots_.size() || slots_[slot].state != SlotState::kFree) return false;
  }
  uint32_t placed = 0;
  for (const uint32_t slot : slot_of_bundle_) placed += slot == kNone ? 0 : 1;
  return listed == listed_count_ && resident == resident_count_ && placed == listed && listed + free == slots_.size();
}

}  // namespace glint
