#include "runtime/decoder_buffers.h"

#include <algorithm>

#include "glint/base/units.h"
#include "runtime/attention.h"

namespace glint {

namespace {

constexpr uint64_t kRowElements = 64;

// Counts what Take would take: every array on its own 64-byte boundary, as Arena hands them out.
class CountingArena {
 public:
  template <typename T>
  std::span<T> TakeArray(uint64_t count) {
    bytes_ += AlignUp(count * sizeof(T), 64);
    return {};
  }
  uint64_t bytes() const { return bytes_; }

 private:
  uint64_t bytes_ = 0;
};

template <typename AnyArena>
DecoderBuffers TakeFrom(const ModelConfig& config, uint32_t batch_max, uint32_t lanes, bool quantized,
                        AnyArena* arena) {
  DecoderBuffers b;
  b.batch_max = batch_max;
  b.hidden_stride = AlignUp(config.hidden_size, kRowElements);
  b.ffn_stride = AlignUp(config.ffn_size, kRowElements);
  b.embedding_stride = AlignUp(config.embedding_size, kRowElements);
  for (std::span<float>* rows : {&b.x, &b.normed, &b.q, &b.k, &b.v, &b.attended, &b.y}) {
    *rows = arena->template TakeArray<float>(batch_max * b.hidden_stride);
  }
  b.h = arena->template TakeArray<float>(batch_max * b.ffn_stride);
  b.embedding = arena->template TakeArray<float>(batch_max * b.embedding_stride);
  if (quantized) {
    const uint64_t widest = batch_max * std::max(b.hidden_stride, b.embedding_stride);
    b.quants = arena->template TakeArray<int8_t>(widest);
    b.scales = arena->template TakeArray<float>(widest / kQuantBlock);
    b.group_sums = arena->template TakeArray<int32_t>(widest / 4);
  }
  b.attention = arena->template TakeArray<float>(lanes * AttentionScratchFloats(config.head_size()));
  return b;
}

}  // namespace

uint64_t DecoderBuffers::BytesNeeded(const ModelConfig& config, uint32_t batch_max, uint32_t lanes, bool quantized) {
  CountingArena arena;
  TakeFrom(config, batch_max, lanes, quantized, &arena);
  return arena.bytes();
}

DecoderBuffers DecoderBuffers::Take(const ModelConfig& config, uint32_t batch_max, uint32_t lanes, bool quantized,
                                    Arena* arena) {
  return TakeFrom(config, batch_max, lanes, quantized, arena);
}

Activations DecoderBuffers::Describe(WeightType type, std::span<const float> values, uint32_t token_count,
                                     uint64_t columns, uint64_t stride) {
  Activations described{.token_count = token_count, .columns = columns, .stride = stride, .values = values.data()};
  if (IsQuantized(type)) {
    QuantizeActivations(values.data(), token_count, stride, quants.data(), scales.data(), group_sums.data());
    described.quants = quants.data();
    described.scales = scales.data();
    described.group_sums = group_sums.data();
  }
  return described;
}

}  // namespace glint
