#include "storage/cache/neuron_cache.h"

#include <algorithm>
#include <cstring>

#include "glint/base/check.h"
#include "storage/flash/aligned_buffer.h"

namespace glint {

NeuronCache::NeuronCache(std::span<const FfnOnFlash> layers, std::span<const uint32_t> slots_per_layer,
                         std::span<std::byte> arena, BundleStream* stream, const NeuronCacheOptions& options)
    : layers_(layers), stream_(stream), options_(options) {
  GLINT_CHECK(layers.size() == slots_per_layer.size());
  GLINT_CHECK(reinterpret_cast<uintptr_t>(arena.data()) % kPageBytes == 0);
  layer_slots_.reserve(layers.size());
  uint64_t arena_taken = 0;
  SlotIndex first_slot;
  for (size_t i = 0; i < layers.size(); ++i) {
    const BundleLayout& layout = layers[i].entry->layout;
    layer_slots_.push_back(
        {.residency = Residency(layout.bundle_count(), first_slot, slots_per_layer[i], options.window_tokens),
         .memory = arena.data() + arena_taken,
         .slot_bytes = layout.PartBytes(options.part),
         .first_slot = first_slot});
    arena_taken += slots_per_layer[i] * layout.PartBytes(options.part);
    GLINT_CHECK(arena_taken <= arena.size());
    first_slot.value += slots_per_layer[i];
  }
  const uint32_t bundle_count_max = BundleCountMax(layers);
  active_.reserve(bundle_count_max);
  placements_.reserve(bundle_count_max);
  misses_.reserve(bundle_count_max);
  miss_positions_.reserve(bundle_count_max);
  position_of_bundle_.resize(bundle_count_max);
  hits_.reserve(bundle_count_max);
}

uint32_t NeuronCache::BundleCountMax(std::span<const FfnOnFlash> layers) {
  uint32_t count = 0;
  for (const FfnOnFlash& layer : layers) count = std::max(count, layer.entry->layout.bundle_count());
  return count;
}

uint64_t NeuronCache::HeldBytes(std::span<const FfnOnFlash> layers, std::span<const uint32_t> slots_per_layer) {
  GLINT_CHECK(layers.size() == slots_per_layer.size());
  constexpr uint64_t kBytesPerBundle =
      2 * sizeof(BundleIndex) + sizeof(Residency::Placement) + 2 * sizeof(uint32_t) + sizeof(BundleView);
  uint64_t bytes = BundleCountMax(layers) * kBytesPerBundle + layers.size() * sizeof(LayerSlots);
  for (size_t i = 0; i < layers.size(); ++i) {
    bytes += Residency::HeldBytes(layers[i].entry->layout.bundle_count(), slots_per_layer[i]);
  }
  return bytes;
}

void NeuronCache::Begin(LayerIndex layer, std::span<const BundleIndex> active) {
  GLINT_CHECK(!step_open_ && layer.value < layers_.size());
  GLINT_CHECK(active.size() <= layers_[layer.value].entry->layout.bundle_count());
  step_open_ = true;
  layer_ = layer;
  active_.assign(active.begin(), active.end());
  layer_slots_[layer.value].residency.BeginStep(active_, &placements_);

  misses_.clear();
  miss_positions_.clear();
  for (uint32_t position = 0; position < active_.size(); ++position) {
    const Residency::Placement& placement = placements_[position];
    if (placement.hit) continue;
    misses_.push_back(placement.bundle);
    miss_positions_.push_back(position);
    position_of_bundle_[placement.bundle.value] = position;
  }
  stats_.cache_hits += active_.size() - misses_.size();
  stats_.cache_misses += misses_.size();

  misses_begun_ = 0;
  wave_begin_ = 0;
  wave_end_ = 0;
  wave_returned_ = 0;
  hits_returned_ = true;  // there is no wave yet
  streaming_ = !misses_.empty();
  if (streaming_) stream_->Begin(layers_[layer.value], options_.part, misses_);
}

Result<std::span<const BundleIndex>> NeuronCache::NextWave() {
  GLINT_CHECK(step_open_ && wave_returned_ == wave_end_ - wave_begin_);
  wave_begin_ = wave_end_;
  wave_returned_ = 0;
  if (wave_begin_ == active_.size()) return std::span<const BundleIndex>{};

  // Hits up to the last miss of the stream's wave; after the last miss of all, the hits that remain.
  if (misses_begun_ < misses_.size()) {
    GLINT_ASSIGN_OR_RETURN(const std::span<const BundleIndex> streamed, stream_->NextWave());
    misses_begun_ += static_cast<uint32_t>(streamed.size());
  }
  wave_end_ =
      misses_begun_ == misses_.size() ? static_cast<uint32_t>(active_.size()) : miss_positions_[misses_begun_ - 1] + 1;
  hits_.clear();
  for (uint32_t position = wave_begin_; position < wave_end_; ++position) {
    const Residency::Placement& placement = placements_[position];
    if (placement.hit) hits_.push_back(ViewOfSlot(placement.bundle, *placement.slot));
  }
  hits_returned_ = hits_.empty();
  return std::span<const BundleIndex>(active_).subspan(wave_begin_, wave_end_ - wave_begin_);
}

Result<std::span<const BundleView>> NeuronCache::Arrivals() {
  GLINT_CHECK(step_open_);
  if (!hits_returned_) {
    hits_returned_ = true;
    wave_returned_ += static_cast<uint32_t>(hits_.size());
    return std::span<const BundleView>(hits_);
  }
  if (wave_returned_ == wave_end_ - wave_begin_) return std::span<const BundleView>{};
  GLINT_ASSIGN_OR_RETURN(const std::span<const BundleView> arrived, stream_->Arrivals());
  for (const BundleView& view : arrived) {
    const uint32_t position = position_of_bundle_[view.bundle.value];
    const Residency::Placement& placement = placements_[position];
    GLINT_CHECK(placement.bundle == view.bundle && !placement.hit && position >= wave_begin_ && position < wave_end_);
    // The view that is returned stays on staging, which is warm from the checksum.
    if (placement.slot.has_value()) Keep(view, *placement.slot);
  }
  wave_returned_ += static_cast<uint32_t>(arrived.size());
  return arrived;
}

void NeuronCache::End() {
  GLINT_CHECK(step_open_);
  if (streaming_) stream_->End();
  layer_slots_[layer_.value].residency.EndStep();
  streaming_ = false;
  step_open_ = false;
}

BundleView NeuronCache::ViewOfSlot(BundleIndex bundle, SlotIndex slot) const {
  const std::byte* bytes = layer_slots_[layer_.value].At(slot);
  switch (options_.part) {
    case BundlePart::kWhole: {
      const uint64_t first_bytes = layers_[layer_.value].entry->layout.ExtentOf(bundle, BundlePart::kFirst).bytes;
      return {.bundle = bundle, .first = bytes, .rest = bytes + first_bytes};
    }
    case BundlePart::kFirst: return {.bundle = bundle, .first = bytes};
    case BundlePart::kRest: return {.bundle = bundle, .rest = bytes};
  }
  return {};
}

void NeuronCache::Keep(const BundleView& arrived, SlotIndex slot) {
  LayerSlots& slots = layer_slots_[layer_.value];
  const Extent extent = layers_[layer_.value].entry->layout.ExtentOf(arrived.bundle, options_.part);
  // The rest of a short last bundle may have more padding than a full one's: its rows fit a slot, that need not.
  const uint64_t bytes = std::min(extent.bytes, slots.slot_bytes);
  std::memcpy(slots.At(slot), arrived.first != nullptr ? arrived.first : arrived.rest, bytes);
  slots.residency.Loaded(arrived.bundle);
}

}  // namespace glint
