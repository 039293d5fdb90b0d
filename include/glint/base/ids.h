// Ids as types: a neuron is not a bundle, a bundle is not a slot.
#ifndef GLINT_BASE_IDS_H_
#define GLINT_BASE_IDS_H_

#include <compare>
#include <cstdint>

namespace glint {

template <typename Tag>
struct Id {
  uint32_t value = 0;

  constexpr Id() = default;
  constexpr explicit Id(uint32_t v) : value(v) {}
  constexpr auto operator<=>(const Id&) const = default;
};

using LayerIndex = Id<struct LayerTag>;    // 0 .. layer_count - 1
using NeuronId = Id<struct NeuronTag>;     // index of an FFN's hidden dimension, 0 .. ffn_size - 1
using BundleIndex = Id<struct BundleTag>;  // bundle of one layer, ascending with its neurons
using SlotIndex = Id<struct SlotTag>;      // fixed place in the slot arena
using TokenId = int32_t;                   // as the C API has it; negative is "none"

}  // namespace glint

#endif  // GLINT_BASE_IDS_H_
