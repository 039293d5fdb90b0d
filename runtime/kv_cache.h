// Keys and values of one session in half precision, over memory that the caller owns.
#ifndef GLINT_RUNTIME_KV_CACHE_H_
#define GLINT_RUNTIME_KV_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "glint/base/ids.h"

namespace glint {

struct KvShape {
  uint32_t layer_count = 0;
  uint32_t head_count = 0;
  uint32_t head_size = 0;
  uint32_t context_max = 0;  // positions
};

// Keys, then values, each [layer][head][position][row_stride_bytes]. A row is an f16 row of head_size elements as the
// kernels read it: zero-padded to a multiple of 16. Which positions are filled is the session's knowledge.
//
// Thread-compatible: threads may store and read distinct rows at a time.
class KvCache {
 public:
  // Bytes that `shape` takes; the product must not overflow (ValidateModelConfig sees to that).
  static uint64_t BytesNeeded(const KvShape& shape);
  // Alignment that `memory` needs.
  static constexpr uint64_t kAlignment = 64;

  // REQUIRES: memory holds BytesNeeded(shape), is aligned to kAlignment, and outlives the cache. Its content does not
  // matter.
  KvCache(std::span<std::byte> memory, const KvShape& shape);

  const KvShape& shape() const { return shape_; }
  uint64_t row_stride_bytes() const { return row_stride_bytes_; }

  // Rounds the rows of all heads to half and stores them, padding included. k and v are [head][head_size].
  // REQUIRES: layer and position are within the shape.
  void Store(LayerIndex layer, uint32_t position, std::span<const float> k, std::span<const float> v);

  // The row of one position; the next position's row is row_stride_bytes() further.
  const std::byte* KeyRow(LayerIndex layer, uint32_t head, uint32_t position) const {
    return keys_ + RowOffset(layer, head, position);
  }
  const std::byte* ValueRow(LayerIndex layer, uint32_t head, uint32_t position) const {
    return values_ + RowOffset(layer, head, position);
  }

 private:
  uint64_t RowOffset(LayerIndex layer, uint32_t head, uint32_t position) const {
    return ((uint64_t{layer.value} * shape_.head_count + head) * shape_.context_max + position) * row_stride_bytes_;
  }

  KvShape shape_;
  uint64_t row_stride_bytes_ = 0;
  std::byte* keys_ = nullptr;
  std::byte* values_ = nullptr;
};

}  // namespace glint

#endif  // GLINT_RUNTIME_KV_CACHE_H_
