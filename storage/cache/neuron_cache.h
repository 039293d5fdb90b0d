// The neuron cache: fixed slots in DRAM for bundles of every layer, filled from a BundleStream as Residency decides.
// A step over one layer:
//
//   Begin(layer, active)
//   while NextWave() is not empty:            ascending waves of the active set, hits and misses together
//     while Arrivals() is not empty: …        the wave's hits first, then its misses as they arrive
//     … Wave() …                              all of the wave, ascending, every view filled
//   End()
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
  uint32_t window_tokens = 5;
};

struct NeuronCacheStats {
  uint64_t cache_hits = 0;    // bundles, active and resident
  uint64_t cache_misses = 0;  // bundles, active and absent
};

// Thread-compatible. Nothing allocates after construction.
class NeuronCache {
 public:
  // `layers` by layer; `slots_per_layer` likewise; `arena` is page-aligned and holds
  // sum(slots_per_layer[i] * layers[i].entry->layout.PartBytes(part)). All outlive this.
  NeuronCache(std::span<const FfnOnFlash> layers, std::span<const uint32_t> slots_per_layer, std::span<std::byte> arena,
              BundleStream* stream, const NeuronCacheOptions& options);

  static uint64_t HeldBytes(std::span<const FfnOnFlash> layers, std::span<const uint32_t> slots_per_layer);

  // `active`: ascending, no duplicates; copied.
  void Begin(LayerIndex layer, std::span<const BundleIndex> active);
  Result<std::span<const BundleIndex>> NextWave();
  Result<std::span<const BundleView>> Arrivals();
  // Ascending. REQUIRES: Arrivals has returned empty for this wave.
  std::span<const BundleView> Wave() const;
  // Also after an error or a cancellation in the middle.
  void End();

  const NeuronCacheStats& stats() const { return stats_; }

 private:
  NeuronCacheStats stats_;
  // the rest is the implementation's
};

}  // namespace glint

#endif  // GLINT_STORAGE_CACHE_NEURON_CACHE_H_
