#include "storage/format/bundle_layout.h"

#include <algorithm>

#include "glint/base/check.h"

namespace glint {

bool BundleLayout::IsPossible(uint32_t neuron_count, uint32_t hidden_size, WeightType type, bool gated,
                              uint32_t neurons_per_bundle) {
  if (hidden_size == 0 || neurons_per_bundle == 0 || neurons_per_bundle > neuron_count) return false;
  const uint64_t stride = RowStride(type, hidden_size);
  // A bundle's end is aligned, and that padding belongs to the rest granule. The first bound keeps the product small.
  if (stride > kGranuleBytesMax || neurons_per_bundle > kGranuleBytesMax / stride) return false;
  BundleLayout layout;
  layout.row_stride_ = stride;
  layout.gated_ = gated;
  return layout.FirstBytes(neurons_per_bundle) <= kGranuleBytesMax &&
         layout.WholeBytes(neurons_per_bundle) - layout.FirstBytes(neurons_per_bundle) <= kGranuleBytesMax;
}

BundleLayout::BundleLayout(uint32_t neuron_count, uint32_t hidden_size, WeightType type, bool gated,
                           uint32_t neurons_per_bundle)
    : neuron_count_(neuron_count),
      hidden_size_(hidden_size),
      type_(type),
      gated_(gated),
      neurons_per_bundle_(neurons_per_bundle),
      row_stride_(RowStride(type, hidden_size)) {
  GLINT_CHECK(IsPossible(neuron_count, hidden_size, type, gated, neurons_per_bundle));
  bundle_count_ = static_cast<uint32_t>(DivideUp(neuron_count, neurons_per_bundle));
}

BundleLayout BundleLayout::Choose(uint32_t neuron_count, uint32_t hidden_size, WeightType type, bool gated) {
  // What a row wastes to reach its stride is the same for any cluster, so only alignment is weighed here.
  uint32_t best = 1;
  double best_waste = 1;
  for (uint32_t n = 1; n <= neuron_count && IsPossible(neuron_count, hidden_size, type, gated, n); ++n) {
    const BundleLayout layout(neuron_count, hidden_size, type, gated, n);
    const auto whole = static_cast<double>(layout.WholeBytes(n));
    const auto used = static_cast<double>(n * (1 + layout.RestRowsPerNeuron()) * layout.row_stride_);
    const double waste = (whole - used) / whole;
    if (waste < best_waste) {
      best = n;
      best_waste = waste;
    }
    if (waste < 0.03) break;
  }
  return {neuron_count, hidden_size, type, gated, best};
}

uint64_t BundleLayout::FirstBytes(uint32_t neurons) const { return AlignUp(neurons * row_stride_, kGranuleAlignment); }

uint64_t BundleLayout::WholeBytes(uint32_t neurons) const {
  return AlignUp(FirstBytes(neurons) + neurons * RestRowsPerNeuron() * row_stride_, kBundleAlignment);
}

uint32_t BundleLayout::NeuronsIn(BundleIndex bundle) const {
  GLINT_DCHECK(bundle.value < bundle_count_);
  return std::min(neurons_per_bundle_, neuron_count_ - bundle.value * neurons_per_bundle_);
}

uint64_t BundleLayout::PartBytes(BundlePart part) const {
  switch (part) {
    case BundlePart::kWhole: return WholeBytes(neurons_per_bundle_);
    case BundlePart::kFirst: return FirstBytes(neurons_per_bundle_);
    case BundlePart::kRest: return WholeBytes(neurons_per_bundle_) - FirstBytes(neurons_per_bundle_);
  }
  return 0;
}

Extent BundleLayout::ExtentOf(BundleIndex bundle, BundlePart part) const {
  const uint32_t neurons = NeuronsIn(bundle);
  const uint64_t offset = bundle.value * WholeBytes(neurons_per_bundle_);
  const uint64_t first = FirstBytes(neurons);
  const uint64_t whole = WholeBytes(neurons);
  switch (part) {
    case BundlePart::kWhole: return {offset, whole};
    case BundlePart::kFirst: return {offset, first};
    case BundlePart::kRest: return {offset + first, whole - first};
  }
  return {};
}

uint64_t BundleLayout::extent_bytes() const {
  if (bundle_count_ == 0) return 0;
  return ExtentOf(BundleIndex(bundle_count_ - 1), BundlePart::kWhole).end();
}

uint64_t BundleLayout::DownRowOffsetInRest(BundleIndex bundle, uint32_t lane) const {
  const uint64_t up_rows = gated_ ? NeuronsIn(bundle) : 0;
  return (up_rows + lane) * row_stride_;
}

}  // namespace glint
