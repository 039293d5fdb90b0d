// The scratch memory of a step, taken once at open: a batch of tokens on its way through a layer. Rows are padded with
// zeros to a multiple of 64 elements, which kernels rely on.
#ifndef GLINT_RUNTIME_DECODER_BUFFERS_H_
#define GLINT_RUNTIME_DECODER_BUFFERS_H_

#include <cstdint>
#include <span>

#include "runtime/kernels/kernels.h"
#include "storage/flash/aligned_buffer.h"
#include "storage/format/model_config.h"

namespace glint {

struct DecoderBuffers {
  uint32_t batch_max = 0;
  uint64_t hidden_stride = 0;
  uint64_t ffn_stride = 0;
  uint64_t embedding_stride = 0;

  std::span<float> x;          // [batch][hidden]: the residual stream
  std::span<float> normed;     // [batch][hidden]
  std::span<float> q, k, v;    // [batch][hidden]
  std::span<float> attended;   // [batch][hidden]
  std::span<float> y;          // [batch][hidden]: a block's output before the residual
  std::span<float> h;          // [batch][ffn]: activations by neuron id
  std::span<float> embedding;  // [batch][embedding]
  std::span<int8_t> quants;    // [batch][widest input]: of the Activations made last; empty without quantised weights
  std::span<float> scales;
  std::span<int32_t> group_sums;
  std::span<float> attention;  // [lanes][AttentionScratchFloats]

  static uint64_t BytesNeeded(const ModelConfig& config, uint32_t batch_max, uint32_t lanes, bool quantized);
  static DecoderBuffers Take(const ModelConfig& config, uint32_t batch_max, uint32_t lanes, bool quantized,
                             Arena* arena);

  // Describes `token_count` rows of `values` as kernel inputs; quantises them (into quants, scales, group_sums) where
  // `type` wants that. One set of quantised inputs exists at a time.
  Activations Describe(WeightType type, std::span<const float> values, uint32_t token_count, uint64_t columns,
                       uint64_t stride);
};

}  // namespace glint

#endif  // GLINT_RUNTIME_DECODER_BUFFERS_H_
