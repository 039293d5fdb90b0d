#include "runtime/attention.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "glint/base/float16.h"

namespace glint {
namespace {

constexpr LayerIndex kLayer(1);

class FilledCache {
 public:
  FilledCache(uint32_t head_count, uint32_t head_size, uint32_t context_max, float key_deviation, uint64_t seed)
      : shape_{.layer_count = 2, .head_count = head_count, .head_size = head_size, .context_max = context_max},
        memory_(static_cast<std::byte*>(std::aligned_alloc(64, KvCache::BytesNeeded(shape_))), std::free),
        cache_({memory_.get(), KvCache::BytesNeeded(shape_)}, shape_),
        random_(seed) {
    // What no position has stored is NaN: attending to it would show.
    std::memset(memory_.get(), 0xFF, KvCache::BytesNeeded(shape_));
    for (uint32_t position = 0; position < context_max; ++position) {
      const std::vector<float> k = Draw(key_deviation);
      cache_.Store(kLayer, position, k, Draw(1.0F));
    }
  }

  std::vector<float> Draw(float deviation) {
    std::normal_distribution<float> normal(0, deviation);
    std::vector<float> values(uint64_t{shape_.head_count} * shape_.head_size);
    for (float& value : values) value = normal(random_);
    return values;
  }
  KvCache& cache() { return cache_; }

  std::vector<float> Attend(const Kernels& kernels, uint32_t position, const std::vector<float>& q) const {
    std::vector<float> out(q.size());
    std::vector<float> scratch(AttentionScratchFloats(shape_.head_size), 7.0F);
    glint::Attend(kernels, cache_, kLayer, position, q, 0, shape_.head_count, scratch, out);
    return out;
  }

 private:
  KvShape shape_;
  std::unique_ptr<std::byte, decltype(&std::free)> memory_;
  KvCache cache_;
  std::mt19937_64 random_;
};

std::vector<float> DecodeHalves(const std::byte* row, uint32_t count) {
  std::vector<float> values(count);
  for (uint32_t i = 0; i < count; ++i) {
    uint16_t half = 0;
    std::memcpy(&half, row + 2 * i, 2);
    values[i] = HalfToFloat(half);
  }
  return values;
}

// The textbook formula in double.
std::vector<double> Reference(const KvCache& cache, uint32_t head, uint32_t position, const float* q) {
  const uint32_t size = cache.shape().head_size;
  std::vector<double> scores;
  for (uint32_t p = 0; p <= position; ++p) {
    const std::vector<float> k = DecodeHalves(cache.KeyRow(kLayer, head, p), size);
    double score = 0;
    for (uint32_t i = 0; i < size; ++i) score += static_cast<double>(k[i]) * q[i];
    scores.push_back(score);
  }
  const double maximum = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  std::vector<double> out(size);
  for (uint32_t p = 0; p <= position; ++p) {
    const double weight = std::exp(scores[p] - maximum);
    const std::vector<float> v = DecodeHalves(cache.ValueRow(kLayer, head, p), size);
    for (uint32_t i = 0; i < size; ++i) out[i] += weight * v[i];
    sum += weight;
  }
  for (double& value : out) value /= sum;
  return out;
}

TEST(AttentionTest, EqualsTheSoftmaxOfAllPositions) {
  for (const uint32_t head_size : {1U, 16U, 20U, 64U, 80U}) {
    FilledCache filled(3, head_size, 200, 2.0F / std::sqrt(static_cast<float>(head_size)), head_size);
    for (const uint32_t position : {0U, 1U, 62U, 63U, 64U, 65U, 127U, 128U, 199U}) {
      const std::vector<float> q = filled.Draw(1.5F);
      const std::vector<float> out = filled.Attend(BestKernels(), position, q);
      for (uint32_t head = 0; head < 3; ++head) {
        const std::vector<double> expected = Reference(filled.cache(), head, position, q.data() + head * head_size);
        for (uint32_t i = 0; i < head_size; ++i) {
          EXPECT_NEAR(out[head * head_size + i], expected[i], 3e-6) << head_size << " at " << position;
        }
      }
    }
  }
}

TEST(AttentionTest, AMaximumThatGrowsByHundredsForgetsWhatCameBefore) {
  FilledCache filled(1, 16, 130, 0.01F, 1);
  std::vector<float> peak(16, 0.0F);
  peak[0] = 500.0F;
  const std::vector<float> value(16, 3.0F);
  filled.cache().Store(kLayer, 129, peak, value);
  std::vector<float> q(16, 0.0F);
  q[0] = 1.0F;
  EXPECT_EQ(filled.Attend(BestKernels(), 129, q), value);
  // And the other way: a peak in the first block outweighs all that follows.
  filled.cache().Store(kLayer, 5, peak, std::vector<float>(16, -4.0F));
  EXPECT_EQ(filled.Attend(BestKernels(), 128, q), std::vector<float>(16, -4.0F));
}

TEST(AttentionTest, TablesAndHeadSplitsDoNotChangeABit) {
  std::mt19937_64 random(2);
  for (int repeat = 0; repeat < 40; ++repeat) {
    const auto head_count = static_cast<uint32_t>(1 + random() % 5);
    const auto head_size = static_cast<uint32_t>(1 + random() % 90);
    FilledCache filled(head_count, head_size, 150, 1.0F, random());
    const auto position = static_cast<uint32_t>(random() % 150);
    const std::vector<float> q = filled.Draw(0.5F);
    const std::vector<float> expected = filled.Attend(PortableKernels(), position, q);
    for (const Kernels* table : {Avx2KernelsOrNull(), Avx512KernelsOrNull()}) {
      if (table == nullptr) continue;
      EXPECT_EQ(filled.Attend(*table, position, q), expected) << table->name;
    }
    // Head by head, over the query itself.
    std::vector<float> out = q;
    std::vector<float> scratch(AttentionScratchFloats(head_size), std::numeric_limits<float>::quiet_NaN());
    for (uint32_t head = head_count; head-- > 0;) {
      Attend(BestKernels(), filled.cache(), kLayer, position, out, head, head + 1, scratch, out);
    }
    EXPECT_EQ(out, expected);
  }
}

TEST(AttentionTest, NanInAKeyShowsInItsHeadAlone) {
  for (const uint32_t poisoned : {0U, 3U, 70U}) {
    FilledCache filled(2, 8, 100, 1.0F, 3);
    std::vector<float> k(16, 0.5F);
    k[0] = std::numeric_limits<float>::quiet_NaN();
    filled.cache().Store(kLayer, poisoned, k, std::vector<float>(16, 1.0F));
    const std::vector<float> out = filled.Attend(BestKernels(), 90, filled.Draw(1.0F));
    EXPECT_TRUE(std::isnan(out[0])) << poisoned;
    EXPECT_FALSE(std::isnan(out[8])) << poisoned;
  }
}

}  // namespace
}  // namespace glint
