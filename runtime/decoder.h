// One step: a batch of tokens through all layers. Which norms, biases and projections there are is data.
#ifndef GLINT_RUNTIME_DECODER_H_
#define GLINT_RUNTIME_DECODER_H_

#include <atomic>
#include <cstdint>
#include <span>

#include "glint/base/ids.h"
#include "glint/base/status.h"
#include "runtime/decoder_buffers.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kv_cache.h"
#include "runtime/pinned_weights.h"
#include "runtime/sparse_ffn.h"
#include "runtime/thread_pool.h"

namespace glint {

// Thread-compatible. A step allocates nothing. Everything passed in outlives it.
class Decoder {
 public:
  Decoder(const ModelConfig& config, const PinnedWeights& weights, const Kernels& kernels, ThreadPool* pool,
          SparseFfn* ffn, DecoderBuffers* buffers)
      : config_(config), weights_(weights), kernels_(kernels), pool_(pool), ffn_(ffn), buffers_(*buffers) {}

  // Computes `tokens` at positions position, position + 1, …; their keys and values go to `kv`. kCancelled where
  // `cancel` becomes true; what was there before `position` is untouched by any error. REQUIRES: 1 <= tokens.size() <=
  // batch_max, ids are in the vocabulary, positions in the context.
  Status Forward(std::span<const TokenId> tokens, uint32_t position, KvCache* kv, const std::atomic<bool>& cancel);

  // The logits that follow token `index` of the last Forward. out: [vocab].
  void Logits(uint32_t index, std::span<float> out);

 private:
  void Embed(std::span<const TokenId> tokens, uint32_t position);
  void Attention(LayerIndex index, uint32_t token_count, uint32_t position, KvCache* kv);
  Status FeedForward(LayerIndex index, uint32_t token_count);
  void ApplyNorm(const Norm& norm, std::span<const float> x, uint32_t token_count, std::span<float> out);
  void AddToResidual(std::span<const float> bias, uint32_t token_count);

  const ModelConfig& config_;
  const PinnedWeights& weights_;
  const Kernels& kernels_;
  ThreadPool* pool_;
  SparseFfn* ffn_;
  DecoderBuffers& buffers_;
};

}  // namespace glint

#endif  // GLINT_RUNTIME_DECODER_H_
