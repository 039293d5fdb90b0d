// The feed-forward layer as a sum over active neurons, on whatever is in memory or must come from flash. Here control
// (predictor -> residency -> reads) and data (flash -> slot -> compute) meet, once per layer.
//
// A layer's bundles fall into two parts, in ascending order, so that sums stay in the order of neuron ids:
//   [0, known)  the rows known first are pinned or streamed on their own; then the rests of active bundles are read
//   [known, n)  bundles are read whole
// A predictor that does not need the first activations names bundles of the whole layer, and they are read whole.
#ifndef GLINT_RUNTIME_SPARSE_FFN_H_
#define GLINT_RUNTIME_SPARSE_FFN_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "glint/base/status.h"
#include "predictor/predictor.h"
#include "runtime/decoder_buffers.h"
#include "runtime/kernels/kernels.h"
#include "runtime/thread_pool.h"
#include "storage/cache/neuron_cache.h"

namespace glint {

// What one layer's FFN needs besides the streams. Const after open.
struct FfnLayer {
  const BundleLayout* layout = nullptr;
  FfnOnFlash flash;
  std::span<const float> first_bias;        // [ffn], or empty
  std::span<const std::byte> first_pinned;  // first granules of bundles [0, first_pinned_count), one after the other
  uint32_t first_pinned_count = 0;
};

// What a layer's tokens did, for `eval`.
struct LayerActivity {
  uint64_t tokens = 0;
  uint64_t active = 0;     // neurons whose activation was not zero, summed over tokens
  uint64_t predicted = 0;  // neurons that the predictor named, summed over tokens
};

struct SparseFfnStats {
  uint64_t predict_ns = 0;  // finding the active neurons, without waiting and verifying
};

// Thread-compatible. A step allocates nothing.
class SparseFfn {
 public:
  struct Parts {
    const Kernels* kernels = nullptr;
    ThreadPool* pool = nullptr;
    const Predictor* predictor = nullptr;
    BundleStream* stream = nullptr;
    NeuronCache* cache = nullptr;
    DecoderBuffers* buffers = nullptr;
    uint64_t gap_bytes_max = 0;
    bool measure_activity = false;
  };
  SparseFfn(const Parts& parts, std::vector<FfnLayer> layers);

  // Whether first rows that are not pinned are streamed on their own: only where a plan would not read across the rests
  // between them anyway.
  static bool StreamsFirstRowsApart(const BundleLayout& layout, uint64_t gap_bytes_max) {
    return layout.PartBytes(BundlePart::kRest) > gap_bytes_max;
  }

  // Heap bytes of the active set and the tables, for the budget.
  static uint64_t HeldBytes(const ModelDirectory& directory);

  // y[t] = sum over neurons of act(first . x[t] + bias) * down, without the down bias; y is [token][hidden_stride] of
  // the buffers and is overwritten. After an error nothing is in flight and the cache is consistent.
  Status Run(LayerIndex layer, const Activations& x, std::span<float> y);

  // The type of the layer's rows, which decides how its input is described.
  WeightType weight_type(LayerIndex layer) const { return layers_[layer.value].layout->type(); }

  const SparseFfnStats& stats() const { return stats_; }
  std::span<const LayerActivity> activity() const { return activity_; }  // all zero unless measured

 private:
  uint32_t KnownBundles(const FfnLayer& layer) const;
  Status ComputeKnownFirst(const FfnLayer& layer, const Activations& x, uint32_t known);
  void Predict(const FfnLayer& layer, LayerIndex index, uint32_t token_count, uint32_t bundle_count);
  void NameBundles(uint32_t begin, uint32_t end);
  template <typename Source>
  Status ComputeWaves(Source* source, const FfnLayer& layer, bool compute_first, const Activations& x, float* y);
  template <typename ViewAt>
  void ComputeFirst(const FfnLayer& layer, uint32_t view_count, const ViewAt& view_at, const Activations& x);
  void AddDown(const FfnLayer& layer, std::span<const BundleIndex> wave, uint32_t token_count, float* y);
  void MeasureActivity(LayerIndex index, uint32_t token_count);

  Parts parts_;
  std::vector<FfnLayer> layers_;
  ActiveSet active_;
  std::vector<BundleIndex> bundles_;       // of the active set; capacity for all
  std::vector<const std::byte*> rest_of_;  // by bundle: where the current wave's rests are
  std::vector<LayerActivity> activity_;
  SparseFfnStats stats_;
};

}  // namespace glint

#endif  // GLINT_RUNTIME_SPARSE_FFN_H_
