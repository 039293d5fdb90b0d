#include "runtime/kv_cache.h"

#include <cstring>

#include "glint/base/check.h"
#include "glint/base/float16.h"
#include "storage/format/quant.h"

namespace glint {
namespace {

uint64_t PlaneBytes(const KvShape& shape) {
  return uint64_t{shape.layer_count} * shape.head_count * shape.context_max *
         RowBytes(WeightType::kF16, shape.head_size);
}

void StoreRow(std::span<const float> values, std::span<std::byte> row) {
  const auto store = [&](size_t i, uint16_t half) { std::memcpy(row.data() + i * sizeof(half), &half, sizeof(half)); };
  for (size_t i = 0; i < values.size(); ++i) store(i, FloatToHalf(values[i]));
  for (size_t i = values.size(); i < row.size() / sizeof(uint16_t); ++i) store(i, 0);
}

}  // namespace

uint64_t KvCache::BytesNeeded(const KvShape& shape) { return 2 * AlignUp(PlaneBytes(shape), kAlignment); }

KvCache::KvCache(std::span<std::byte> memory, const KvShape& shape)
    : shape_(shape),
      row_stride_bytes_(RowBytes(WeightType::kF16, shape.head_size)),
      keys_(memory.data()),
      values_(memory.data() + AlignUp(PlaneBytes(shape), kAlignment)) {
  GLINT_CHECK(memory.size() >= BytesNeeded(shape));
  GLINT_CHECK(reinterpret_cast<uintptr_t>(memory.data()) % kAlignment == 0);
}

void KvCache::Store(LayerIndex layer, uint32_t position, std::span<const float> k, std::span<const float> v) {
  GLINT_CHECK(layer.value < shape_.layer_count && position < shape_.context_max);
  GLINT_DCHECK(k.size() == uint64_t{shape_.head_count} * shape_.head_size && v.size() == k.size());
  for (uint32_t head = 0; head < shape_.head_count; ++head) {
    const uint64_t offset = RowOffset(layer, head, position);
    const uint64_t first = uint64_t{head} * shape_.head_size;
    StoreRow(k.subspan(first, shape_.head_size), {keys_ + offset, row_stride_bytes_});
    StoreRow(v.subspan(first, shape_.head_size), {values_ + offset, row_stride_bytes_});
  }
}

}  // namespace glint
