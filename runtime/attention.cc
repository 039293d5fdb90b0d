#include "runtime/attention.h"

#include <algorithm>
#include <limits>

#include "glint/base/check.h"
#include "runtime/ops.h"

namespace glint {
namespace {

// One lane's scratch: the query of a head as the kernels want it, the scores of a block, the weighted sum of values.
struct Scratch {
  std::span<float> query;   // [AlignUp(head_size, 64)], padding zero
  std::span<float> scores;  // [kAttentionBlock], then weights
  std::span<float> sum;     // [head_size]
};

Scratch Divide(std::span<float> scratch, uint32_t head_size) {
  const uint64_t padded = AlignUp(head_size, 64);
  return {scratch.subspan(0, padded), scratch.subspan(padded, kAttentionBlock),
          scratch.subspan(padded + kAttentionBlock, head_size)};
}

void RowsOfBlock(const std::byte* first, uint64_t stride, uint32_t count, const std::byte** rows) {
  for (uint32_t i = 0; i < count; ++i) rows[i] = first + i * stride;
}

}  // namespace

uint64_t AttentionScratchFloats(uint32_t head_size) {
  return AlignUp(head_size, 64) + kAttentionBlock + AlignUp(head_size, 64);
}

void Attend(const Kernels& kernels, const KvCache& cache, LayerIndex layer, uint32_t position, std::span<const float> q,
            uint32_t head_begin, uint32_t head_end, std::span<float> scratch, std::span<float> out) {
  const uint32_t head_size = cache.shape().head_size;
  GLINT_DCHECK(layer.value < cache.shape().layer_count && position < cache.shape().context_max);
  GLINT_DCHECK(head_begin <= head_end && head_end <= cache.shape().head_count);
  GLINT_CHECK(scratch.size() >= AttentionScratchFloats(head_size));
  const auto [query, scores, sum] = Divide(scratch, head_size);
  const Activations x = {.token_count = 1, .columns = head_size, .stride = query.size(), .values = query.data()};
  const std::byte* rows[kAttentionBlock];
  for (uint32_t head = head_begin; head < head_end; ++head) {
    const uint64_t offset = uint64_t{head} * head_size;
    std::fill(std::copy_n(q.data() + offset, head_size, query.begin()), query.end(), 0.0F);
    std::fill(sum.begin(), sum.end(), 0.0F);
    float maximum = -std::numeric_limits<float>::infinity();
    float weight_sum = 0.0F;
    for (uint32_t begin = 0; begin <= position; begin += kAttentionBlock) {
      const uint32_t count = std::min(kAttentionBlock, position + 1 - begin);
      RowsOfBlock(cache.KeyRow(layer, head, begin), cache.row_stride_bytes(), count, rows);
      kernels.dot_rows(WeightType::kF16, rows, count, x, scores.data(), count);
      // A NaN is passed over here and met again in its weight, so that it shows in the result.
      const float block_maximum = *std::max_element(scores.begin(), scores.begin() + count);
      if (block_maximum > maximum) {
        const float rescale = Exp(maximum - block_maximum);  // 0 for the first block
        weight_sum *= rescale;
        ScaleInPlace(sum, rescale);
        maximum = block_maximum;
      }
      kernels.exp_minus(scores.data(), count, maximum);
      for (uint32_t i = 0; i < count; ++i) weight_sum += scores[i];
      RowsOfBlock(cache.ValueRow(layer, head, begin), cache.row_stride_bytes(), count, rows);
      kernels.add_scaled_rows(WeightType::kF16, rows, scores.data(), count, head_size, 0, head_size, sum.data());
    }
    for (uint32_t j = 0; j < head_size; ++j) out[offset + j] = sum[j] / weight_sum;
  }
}

}  // namespace glint
