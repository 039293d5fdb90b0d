#include "runtime/sparse_ffn.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "runtime/ops.h"

namespace glint {

namespace {

// Rows per kernel call: enough to hide latency, few enough that a batch's weights stay in the cache of a core.
constexpr uint32_t kRows = 64;
// Multiplications below which waking other threads costs more than it gains.
constexpr uint64_t kForkWork = 32 * 1024;

uint32_t WidestLayer(const std::vector<FfnLayer>& layers, uint32_t (*of)(const BundleLayout&)) {
  uint32_t widest = 0;
  for (const FfnLayer& layer : layers) widest = std::max(widest, of(*layer.layout));
  return widest;
}

uint64_t NowNs() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

// Whatever happens in between, the source is left with nothing in flight.
template <typename Source>
class EndAtExit {
 public:
  explicit EndAtExit(Source* source) : source_(source) {}
  ~EndAtExit() { source_->End(); }
  EndAtExit(const EndAtExit&) = delete;
  EndAtExit& operator=(const EndAtExit&) = delete;

 private:
  Source* source_;
};

// Adds the time from here to the end of the scope, without what the stream waited and verified in it.
class PredictTimer {
 public:
  PredictTimer(const BundleStreamStats& stream, uint64_t* total_ns)
      : stream_(stream), total_ns_(total_ns), begin_ns_(NowNs()), begin_waited_ns_(WaitedNs()) {}
  ~PredictTimer() { *total_ns_ += NowNs() - begin_ns_ - (WaitedNs() - begin_waited_ns_); }
  PredictTimer(const PredictTimer&) = delete;
  PredictTimer& operator=(const PredictTimer&) = delete;

 private:
  uint64_t WaitedNs() const { return stream_.stall_ns + stream_.verify_ns; }

  const BundleStreamStats& stream_;
  uint64_t* total_ns_;
  uint64_t begin_ns_;
  uint64_t begin_waited_ns_;
};

}  // namespace

SparseFfn::SparseFfn(const Parts& parts, std::vector<FfnLayer> layers)
    : parts_(parts),
      layers_(std::move(layers)),
      active_(WidestLayer(layers_, [](const BundleLayout& layout) { return layout.neuron_count(); })),
      rest_of_(WidestLayer(layers_, [](const BundleLayout& layout) { return layout.bundle_count(); })),
      activity_(layers_.size()) {
  bundles_.reserve(rest_of_.size());
}

uint64_t SparseFfn::HeldBytes(const ModelDirectory& directory) {
  uint64_t neurons = 0;
  uint64_t bundles = 0;
  for (const FfnEntry& entry : directory.ffn) {
    neurons = std::max<uint64_t>(neurons, entry.layout.neuron_count());
    bundles = std::max<uint64_t>(bundles, entry.layout.bundle_count());
  }
  return DivideUp(neurons, 64) * 8 + bundles * (sizeof(BundleIndex) + sizeof(const std::byte*)) +
         directory.ffn.size() * (sizeof(FfnLayer) + sizeof(LayerActivity));
}

Status SparseFfn::Run(LayerIndex index, const Activations& x, std::span<float> y) {
  const FfnLayer& layer = layers_[index.value];
  const uint32_t bundle_count = layer.layout->bundle_count();
  const bool first_needed = parts_.predictor->needs_first_activations();
  const uint32_t known = first_needed ? KnownBundles(layer) : 0;
  std::fill(y.begin(), y.end(), 0.0F);
  if (first_needed) GLINT_RETURN_IF_ERROR(ComputeKnownFirst(layer, x, known));
  Predict(layer, index, x.token_count, first_needed ? known : bundle_count);
  {
    parts_.cache->Begin(index, bundles_);
    const EndAtExit end(parts_.cache);
    GLINT_RETURN_IF_ERROR(ComputeWaves(parts_.cache, layer, /*compute_first=*/!first_needed, x, y.data()));
  }
  if (first_needed && known < bundle_count) {
    NameBundles(known, bundle_count);
    parts_.stream->Begin(layer.flash, BundlePart::kWhole, bundles_);
    const EndAtExit end(parts_.stream);
    GLINT_RETURN_IF_ERROR(ComputeWaves(parts_.stream, layer, /*compute_first=*/true, x, y.data()));
  }
  if (parts_.measure_activity) MeasureActivity(index, x.token_count);
  return Status::Ok();
}

uint32_t SparseFfn::KnownBundles(const FfnLayer& layer) const {
  return StreamsFirstRowsApart(*layer.layout, parts_.gap_bytes_max) ? layer.layout->bundle_count()
                                                                    : layer.first_pinned_count;
}

// First activations of bundles [0, known): from pinned rows as far as they go, then from flash.
Status SparseFfn::ComputeKnownFirst(const FfnLayer& layer, const Activations& x, uint32_t known) {
  const PredictTimer timer(parts_.stream->stats(), &stats_.predict_ns);
  const uint64_t granule_bytes = layer.layout->PartBytes(BundlePart::kFirst);
  const uint32_t pinned = std::min(known, layer.first_pinned_count);
  ComputeFirst(
      layer, pinned,
      [&](uint32_t i) {
        return BundleView{BundleIndex(i), layer.first_pinned.data() + i * granule_bytes, nullptr};
      },
      x);
  if (pinned == known) return Status::Ok();
  NameBundles(pinned, known);
  parts_.stream->Begin(layer.flash, BundlePart::kFirst, bundles_);
  const EndAtExit end(parts_.stream);
  return ComputeWaves(parts_.stream, layer, /*compute_first=*/true, x, nullptr);
}

// The predictor's answer for the neurons of bundles [0, bundle_count), as the bundles that hold them.
void SparseFfn::Predict(const FfnLayer& layer, LayerIndex index, uint32_t token_count, uint32_t bundle_count) {
  const PredictTimer timer(parts_.stream->stats(), &stats_.predict_ns);
  const BundleLayout& layout = *layer.layout;
  active_.Clear();
  parts_.predictor->Predict(
      {.layer = index,
       .token_count = token_count,
       .first_activations = parts_.buffers->h,
       .stride = parts_.buffers->ffn_stride,
       .first_neuron = 0,
       .neuron_count = std::min(bundle_count * layout.neurons_per_bundle(), layout.neuron_count())},
      &active_);
  bundles_.clear();
  active_.ForEach([&](NeuronId neuron) {
    const BundleIndex bundle = layout.BundleOf(neuron);
    if (bundles_.empty() || bundles_.back() != bundle) bundles_.push_back(bundle);
  });
}

void SparseFfn::NameBundles(uint32_t begin, uint32_t end) {
  bundles_.clear();
  for (uint32_t i = begin; i < end; ++i) bundles_.push_back(BundleIndex(i));
}

// Phase 1 in order of arrival, phase 2 when a wave is complete (design, section 2a.3). Without `y` there is no phase 2.
template <typename Source>
Status SparseFfn::ComputeWaves(Source* source, const FfnLayer& layer, bool compute_first, const Activations& x,
                               float* y) {
  while (true) {
    GLINT_ASSIGN_OR_RETURN(const std::span<const BundleIndex> wave, source->NextWave());
    if (wave.empty()) return Status::Ok();
    while (true) {
      GLINT_ASSIGN_OR_RETURN(const std::span<const BundleView> views, source->Arrivals());
      if (views.empty()) break;
      if (compute_first) {
        ComputeFirst(
            layer, static_cast<uint32_t>(views.size()), [&](uint32_t i) { return views[i]; }, x);
      }
      for (const BundleView& view : views) rest_of_[view.bundle.value] = view.rest;
    }
    if (y != nullptr) AddDown(layer, wave, x.token_count, y);
  }
}

// h[t][neuron] = act(first row . x[t] + bias) for the neurons of the given views.
template <typename ViewAt>
void SparseFfn::ComputeFirst(const FfnLayer& layer, uint32_t view_count, const ViewAt& view_at, const Activations& x) {
  const BundleLayout& layout = *layer.layout;
  const uint64_t stride = parts_.buffers->ffn_stride;
  float* const h = parts_.buffers->h.data();
  const auto compute = [&](uint32_t lane, uint32_t lanes) {
    const LaneRange range = SplitRange(view_count, 1, lane, lanes);
    std::array<const std::byte*, kRows> rows;
    uint32_t row_count = 0;
    uint32_t first_neuron = 0;
    const auto flush = [&] {
      if (row_count == 0) return;
      parts_.kernels->dot_rows(layout.type(), rows.data(), row_count, x, h + first_neuron, stride);
      for (uint32_t t = 0; t < x.token_count; ++t) {
        const std::span<float> values(h + t * stride + first_neuron, row_count);
        if (!layer.first_bias.empty()) AddInPlace(values, layer.first_bias.subspan(first_neuron, row_count));
        Relu(values);
      }
      row_count = 0;
    };
    // Neighbouring neurons go to the kernel together.
    for (uint64_t i = range.begin; i < range.end; ++i) {
      const BundleView view = view_at(static_cast<uint32_t>(i));
      const uint32_t neuron = layout.FirstNeuron(view.bundle).value;
      for (uint32_t j = 0; j < layout.NeuronsIn(view.bundle); ++j) {
        if (row_count == kRows || neuron + j != first_neuron + row_count) flush();
        if (row_count == 0) first_neuron = neuron + j;
        rows[row_count++] = view.first + layout.FirstRowOffset(j);
      }
    }
    flush();
  };
  const uint64_t work = uint64_t{view_count} * layout.neurons_per_bundle() * layout.hidden_size() * x.token_count;
  if (work < kForkWork) {
    compute(0, 1);
  } else {
    parts_.pool->Run(compute);
  }
}

// y[t] += h[t][neuron] * down row, ascending over the neurons of the wave whose h is not zero. Lanes split the outputs.
void SparseFfn::AddDown(const FfnLayer& layer, std::span<const BundleIndex> wave, uint32_t token_count, float* y) {
  const BundleLayout& layout = *layer.layout;
  const DecoderBuffers& buffers = *parts_.buffers;
  parts_.pool->Run([&](uint32_t lane, uint32_t lanes) {
    const LaneRange columns = SplitRange(layout.hidden_size(), kQuantBlock * 2, lane, lanes);
    if (columns.begin == columns.end) return;
    std::array<const std::byte*, kRows> block;
    std::array<uint32_t, kRows> neurons;
    std::array<const std::byte*, kRows> rows;
    std::array<float, kRows> factors;
    uint32_t count = 0;
    const auto flush = [&] {
      for (uint32_t t = 0; t < token_count; ++t) {
        const float* h = buffers.h.data() + t * buffers.ffn_stride;
        uint32_t active = 0;
        for (uint32_t i = 0; i < count; ++i) {
          if (h[neurons[i]] == 0) continue;
          rows[active] = block[i];
          factors[active++] = h[neurons[i]];
        }
        if (active == 0) continue;
        parts_.kernels->add_scaled_rows(layout.type(), rows.data(), factors.data(), active, layout.hidden_size(),
                                        columns.begin, columns.end, y + t * buffers.hidden_stride);
      }
      count = 0;
    };
    for (const BundleIndex bundle : wave) {
      for (uint32_t j = 0; j < layout.NeuronsIn(bundle); ++j) {
        if (count == kRows) flush();
        neurons[count] = layout.FirstNeuron(bundle).value + j;
        block[count++] = rest_of_[bundle.value] + layout.DownRowOffsetInRest(bundle, j);
      }
    }
    flush();
  });
}

void SparseFfn::MeasureActivity(LayerIndex index, uint32_t token_count) {
  const BundleLayout& layout = *layers_[index.value].layout;
  LayerActivity& activity = activity_[index.value];
  uint64_t active = 0;
  for (uint32_t t = 0; t < token_count; ++t) {
    const float* h = parts_.buffers->h.data() + t * parts_.buffers->ffn_stride;
    for (uint32_t i = 0; i < layout.neuron_count(); ++i) active += h[i] != 0 ? 1 : 0;
  }
  activity.tokens += token_count;
  activity.active += active;
  // A predictor that computes the first activations names exactly the active neurons; one that does not names them all.
  activity.predicted +=
      parts_.predictor->needs_first_activations() ? active : uint64_t{token_count} * layout.neuron_count();
}

}  // namespace glint
