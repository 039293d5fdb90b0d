// The neuron cache: fixed slots in DRAM for bundles of every layer, filled from a BundleStream as Residency decides.
// A step over one layer:
//
//   Begin(layer, active)
//   while NextWave() is not empty:            ascending waves of the active set, hits and misses together
//     while Arrivals() is not empty: …        the wave's hits first, then its misses as they arrive
//     …                                       the views of all of the wave still hold
//   End()
//
// Invariants: a bundle is absent, loading or resident (Residency's); a slot holds what a checksum held for, since only
// bundles that the stream handed out are copied there; a slot of the current step is not written to but by its own
// bundle, so views of hits stay valid until End.
#ifndef GLINT_STORAGE_CACHE_NEURON_CACHE_H_
#define GLINT_STORAGE_CACHE_NEURON_CACHE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "storage/cache/bundle_stream.h"
#include "storage/cache/residency.h"

namespace glint {

struct NeuronCacheOptions {
  BundlePart part = BundlePart::kWhole;  // what slots hold: whole bundles, or rests where the first rows are known
  uint32_t window_tokens = kWindowUnbounded;
};

struct NeuronCacheStats {
  uint64_t cache_hits = 0;    // bundles, active and resident
  uint64_t cache_misses = 0;  // bundles, active and absent
};

// Thread-compatible. Nothing allocates after construction, but the message of an error.
class NeuronCache {
 public:
  // `layers` by layer; `slots_per_layer` likewise; `arena` is page-aligned and holds
  // sum(slots_per_layer[i] * layers[i].entry->layout.PartBytes(part)). All but slots_per_layer outlive this.
  NeuronCache(std::span<const FfnOnFlash> layers, std::span<const uint32_t> slots_per_layer, std::span<std::byte> arena,
              BundleStream* stream, const NeuronCacheOptions& options);

  static uint64_t HeldBytes(std::span<const FfnOnFlash> layers, std::span<const uint32_t> slots_per_layer);

  // Begins a step over `layer`. `active`: ascending, no duplicates; copied. REQUIRES: no step is open, and the stream
  // is not streaming for anybody else until End.
  void Begin(LayerIndex layer, std::span<const BundleIndex> active);
  // Begins the next wave: the longest ascending run whose misses fit the stream's staging. Returns its bundles, empty
  // when all are done. The views of the wave before are gone. REQUIRES: Arrivals returned empty for that wave. After an
  // error of this or of Arrivals only End may be called.
  Result<std::span<const BundleIndex>> NextWave();
  // Returns the wave's hits at once (if there are any), then waits for misses as BundleStream::Arrivals does; empty
  // when the whole wave has been returned. Views stay valid until NextWave.
  Result<std::span<const BundleView>> Arrivals();
  // Ends the step, also after an error or a cancellation in the middle: no read lands any more, what arrived and has a
  // slot stays, what did not arrive is absent. REQUIRES: a step is open.
  void End();

  // Bundles of `layer` that are resident.
  uint32_t resident_count(LayerIndex layer) const { return layer_slots_[layer.value].residency.resident_count(); }

  const NeuronCacheStats& stats() const { return stats_; }

 private:
  // The slots of one layer, side by side in the arena.
  struct LayerSlots {
    Residency residency;
    std::byte* memory;
    uint64_t slot_bytes;
    SlotIndex first_slot;

    std::byte* At(SlotIndex slot) const { return memory + (slot.value - first_slot.value) * slot_bytes; }
  };

  static uint32_t BundleCountMax(std::span<const FfnOnFlash> layers);
  BundleView ViewOfSlot(BundleIndex bundle, SlotIndex slot) const;
  void Keep(const BundleView& arrived, SlotIndex slot);  // copies a miss to its slot

  std::span<const FfnOnFlash> layers_;
  BundleStream* stream_;
  NeuronCacheOptions options_;
  NeuronCacheStats stats_;
  std::vector<LayerSlots> layer_slots_;  // by layer

  // The step. Positions count the members of the active set.
  bool step_open_ = false;
  bool streaming_ = false;
  LayerIndex layer_;
  std::vector<BundleIndex> active_;
  std::vector<Residency::Placement> placements_;  // by position
  std::vector<BundleIndex> misses_;
  std::vector<uint32_t> miss_positions_;      // by miss
  std::vector<uint32_t> position_of_bundle_;  // by bundle; set for the misses of this step only
  uint32_t misses_begun_ = 0;                 // a prefix of misses_: those of this wave and of the ones before

  // The wave.
  uint32_t wave_begin_ = 0;  // positions [wave_begin_, wave_end_)
  uint32_t wave_end_ = 0;
  uint32_t wave_returned_ = 0;    // how many of the wave Arrivals returned
  std::vector<BundleView> hits_;  // of the wave, ascending
  bool hits_returned_ = false;
};

}  // namespace glint

#endif  // GLINT_STORAGE_CACHE_NEURON_CACHE_H_
