#include "runtime/kv_cache.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "glint/base/float16.h"

namespace glint {
namespace {

// Memory with garbage in it, as a reused session has it.
struct Memory {
  explicit Memory(uint64_t bytes) : bytes_(bytes + 64, std::byte{0xAB}), size(bytes) {}
  std::span<std::byte> span() {
    const auto address = reinterpret_cast<uintptr_t>(bytes_.data());
    return {bytes_.data() + (64 - address % 64) % 64, size};
  }
  std::vector<std::byte> bytes_;
  uint64_t size;
};

uint16_t HalfAt(const std::byte* row, size_t i) {
  uint16_t half = 0;
  std::memcpy(&half, row + 2 * i, 2);
  return half;
}

TEST(KvCacheTest, StoresEveryRowAtItsOwnPlaceWithZeroPadding) {
  const KvShape shape = {.layer_count = 2, .head_count = 3, .head_size = 5, .context_max = 4};
  Memory memory(KvCache::BytesNeeded(shape));
  KvCache cache(memory.span(), shape);
  const auto value = [](uint32_t layer, uint32_t position, uint32_t i, float sign) {
    return sign * static_cast<float>(1000 * layer + 100 * position + i);
  };
  for (uint32_t layer = 0; layer < 2; ++layer) {
    for (uint32_t position = 0; position < 4; ++position) {
      std::vector<float> k(15);
      std::vector<float> v(15);
      for (uint32_t i = 0; i < 15; ++i) k[i] = value(layer, position, i, 1), v[i] = value(layer, position, i, -1);
      cache.Store(LayerIndex(layer), position, k, v);
    }
  }
  for (uint32_t layer = 0; layer < 2; ++layer) {
    for (uint32_t position = 0; position < 4; ++position) {
      for (uint32_t head = 0; head < 3; ++head) {
        const std::byte* k = cache.KeyRow(LayerIndex(layer), head, position);
        const std::byte* v = cache.ValueRow(LayerIndex(layer), head, position);
        for (uint32_t i = 0; i < 16; ++i) {
          const bool padding = i >= 5;
          EXPECT_EQ(HalfToFloat(HalfAt(k, i)), padding ? 0 : value(layer, position, head * 5 + i, 1));
          EXPECT_EQ(HalfToFloat(HalfAt(v, i)), padding ? 0 : value(layer, position, head * 5 + i, -1));
        }
      }
    }
  }
}

TEST(KvCacheTest, TakesFourBytesPerElementAndPosition) {
  EXPECT_EQ(KvCache::BytesNeeded({.layer_count = 4, .head_count = 8, .head_size = 64, .context_max = 100}),
            4U * 8 * 64 * 100 * 4);
}

TEST(KvCacheTest, RoundsToHalf) {
  const KvShape shape = {.layer_count = 1, .head_count = 1, .head_size = 2, .context_max = 1};
  Memory memory(KvCache::BytesNeeded(shape));
  KvCache cache(memory.span(), shape);
  cache.Store(LayerIndex(0), 0, std::vector<float>{1.0F + 0x1p-11F, 1e-7F}, std::vector<float>{0.1F, -0.0F});
  EXPECT_EQ(HalfAt(cache.KeyRow(LayerIndex(0), 0, 0), 0), 0x3C00);  // to even
  EXPECT_EQ(HalfAt(cache.KeyRow(LayerIndex(0), 0, 0), 1), 0x0002);  // a denormal half
  EXPECT_EQ(HalfAt(cache.ValueRow(LayerIndex(0), 0, 0), 0), 0x2E66);
  EXPECT_EQ(HalfAt(cache.ValueRow(LayerIndex(0), 0, 0), 1), 0x8000);
}

}  // namespace
}  // namespace glint
