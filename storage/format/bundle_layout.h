// Where the rows of one FFN layer lie in its extent. A bundle holds a cluster of neighbouring neurons:
//
//   first granule: the rows known first (gate rows where the model is gated, else up rows), one per neuron
//   rest granule:  (gated: up rows, one per neuron, then) down columns as rows, one per neuron
//
// so that either granule can be read alone. A granule begins on 512 bytes, a bundle on 4 KiB. The rest granule reaches
// to the end of its bundle, so that the checksums of the two cover every byte.
#ifndef GLINT_STORAGE_FORMAT_BUNDLE_LAYOUT_H_
#define GLINT_STORAGE_FORMAT_BUNDLE_LAYOUT_H_

#include <cstdint>

#include "glint/base/ids.h"
#include "storage/flash/extent.h"
#include "storage/format/quant.h"

namespace glint {

enum class BundlePart { kWhole, kFirst, kRest };

inline constexpr uint64_t kBundleAlignment = 4096;
inline constexpr uint64_t kGranuleAlignment = 512;
inline constexpr uint64_t kGranuleBytesMax = 256 * kKiB;

// A value; everything follows from its first five fields. Extents are relative to the layer's extent.
class BundleLayout {
 public:
  BundleLayout() = default;
  // REQUIRES: IsPossible of the same arguments.
  BundleLayout(uint32_t neuron_count, uint32_t hidden_size, WeightType type, bool gated, uint32_t neurons_per_bundle);
  // True where 1 <= neurons_per_bundle <= neuron_count, hidden_size >= 1 and both granules have at most
  // kGranuleBytesMax.
  static bool IsPossible(uint32_t neuron_count, uint32_t hidden_size, WeightType type, bool gated,
                         uint32_t neurons_per_bundle);
  // The fewest neurons per bundle that waste under 3% at 4 KiB alignment; where none does, the one that wastes least.
  // REQUIRES: IsPossible with one neuron per bundle.
  static BundleLayout Choose(uint32_t neuron_count, uint32_t hidden_size, WeightType type, bool gated);

  uint32_t neuron_count() const { return neuron_count_; }
  uint32_t hidden_size() const { return hidden_size_; }
  WeightType type() const { return type_; }
  bool gated() const { return gated_; }
  uint32_t neurons_per_bundle() const { return neurons_per_bundle_; }
  uint32_t bundle_count() const { return bundle_count_; }
  uint64_t row_stride() const { return row_stride_; }

  BundleIndex BundleOf(NeuronId neuron) const { return BundleIndex(neuron.value / neurons_per_bundle_); }
  NeuronId FirstNeuron(BundleIndex bundle) const { return NeuronId(bundle.value * neurons_per_bundle_); }
  // Fewer than neurons_per_bundle() in the last bundle only.
  uint32_t NeuronsIn(BundleIndex bundle) const;

  // Bytes of a part of a full bundle, alignment included: what a slot needs. kFirst and kRest are one granule each.
  uint64_t PartBytes(BundlePart part) const;
  Extent ExtentOf(BundleIndex bundle, BundlePart part) const;
  uint64_t extent_bytes() const;  // of the whole layer; a multiple of kBundleAlignment

  // Offsets from the start of the granule that holds the row. `lane` is the neuron's place in its bundle.
  uint64_t FirstRowOffset(uint32_t lane) const { return lane * row_stride_; }
  uint64_t UpRowOffsetInRest(uint32_t lane) const { return lane * row_stride_; }  // REQUIRES: gated()
  uint64_t DownRowOffsetInRest(BundleIndex bundle, uint32_t lane) const;

  friend bool operator==(const BundleLayout&, const BundleLayout&) = default;

 private:
  uint64_t RestRowsPerNeuron() const { return gated_ ? 2 : 1; }
  uint64_t FirstBytes(uint32_t neurons) const;
  uint64_t WholeBytes(uint32_t neurons) const;

  uint32_t neuron_count_ = 0;
  uint32_t hidden_size_ = 0;
  WeightType type_ = WeightType::kF16;
  bool gated_ = false;
  uint32_t neurons_per_bundle_ = 1;
  uint32_t bundle_count_ = 0;
  uint64_t row_stride_ = 0;
};

}  // namespace glint

#endif  // GLINT_STORAGE_FORMAT_BUNDLE_LAYOUT_H_
