#include "storage/cache/neuron_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>

#include "test/storage/cache/allocation_counter.h"
#include "test/storage/cache/streamed_model.h"

namespace glint {
namespace {

using test::AllBundles;
using test::AllocateOrDie;
using test::FaultyEngineOptions;
using test::FfnShape;
using test::RandomBundles;
using test::StreamedModel;

constexpr BundlePart kParts[] = {BundlePart::kWhole, BundlePart::kFirst, BundlePart::kRest};

struct CacheShape {
  std::vector<uint32_t> slots_per_layer;
  uint64_t staging_bytes = 0;
  BundlePart part = BundlePart::kWhole;
  uint32_t window_tokens = 5;
  uint64_t gap_bytes_max = 8 * kKiB;
};

// A cache with its memory over a model that outlives it. What lies behind the slots is watched for writes beyond them.
class CacheOver {
 public:
  CacheOver(StreamedModel* model, const CacheShape& shape)
      : model_(model),
        shape_(shape),
        staging_(AllocateOrDie(shape.staging_bytes)),
        arena_(AllocateOrDie(SlotBytes() + kPageBytes)),
        stream_(&model->file(), staging_.span(), model->bundle_count(0), {.gap_bytes_max = shape.gap_bytes_max}),
        cache_(model->layers(), shape.slots_per_layer, arena_.span().first(SlotBytes()), &stream_,
               {.part = shape.part, .window_tokens = shape.window_tokens}) {}

  NeuronCache& cache() { return cache_; }
  BundleStream& stream() { return stream_; }

  // One step; checks waves, views and bytes. Returns the first error. Stops without one after `arrivals_max` calls.
  Status Step(uint32_t layer, const std::vector<BundleIndex>& active, int arrivals_max = INT32_MAX) {
    const NeuronCacheStats before = cache_.stats();
    cache_.Begin(LayerIndex(layer), active);
    const uint64_t hit_count = cache_.stats().cache_hits - before.cache_hits;
    EXPECT_EQ(hit_count + cache_.stats().cache_misses - before.cache_misses, active.size());
    Status status = Waves(layer, active, hit_count, arrivals_max);
    cache_.End();
    EXPECT_EQ(model_->file().reader().in_flight(), 0u);
    const std::span<std::byte> beyond = arena_.span().subspan(SlotBytes());
    EXPECT_TRUE(std::all_of(beyond.begin(), beyond.end(), [](std::byte byte) { return byte == std::byte{0}; }));
    return status;
  }

 private:
  uint64_t SlotBytes() const {
    uint64_t bytes = 0;
    for (uint32_t layer = 0; layer < shape_.slots_per_layer.size(); ++layer) {
      bytes += shape_.slots_per_layer[layer] * model_->layout(layer).PartBytes(shape_.part);
    }
    return bytes;
  }

  Status Waves(uint32_t layer, const std::vector<BundleIndex>& active, uint64_t hit_count, int arrivals_max) {
    size_t begun = 0;
    uint32_t wave_count = 0;
    while (true) {
      const auto wave = cache_.NextWave();
      if (!wave.ok()) return wave.status();
      if (wave->empty()) break;
      ++wave_count;
      EXPECT_LE(begun + wave->size(), active.size());
      EXPECT_TRUE(std::equal(wave->begin(), wave->end(), active.begin() + static_cast<ptrdiff_t>(begun)));
      std::map<BundleIndex, BundleView> arrived;
      while (true) {
        if (arrivals_max-- == 0) return Status::Ok();
        const auto arrivals = cache_.Arrivals();
        if (!arrivals.ok()) return arrivals.status();
        if (arrivals->empty()) break;
        for (const BundleView& view : *arrivals) {
          model_->ExpectRows(layer, shape_.part, view);
          EXPECT_TRUE(arrived.emplace(view.bundle, view).second) << "handed out twice";
        }
      }
      // Every view of the wave still holds when all have come, as adding the down rows in ascending order asks.
      EXPECT_EQ(arrived.size(), wave->size());
      for (const BundleIndex bundle : *wave) {
        EXPECT_TRUE(arrived.contains(bundle));
        if (arrived.contains(bundle)) model_->ExpectRows(layer, shape_.part, arrived.at(bundle));
      }
      begun += wave->size();
    }
    EXPECT_EQ(begun, active.size());
    if (!active.empty() && hit_count == active.size()) {
      EXPECT_EQ(wave_count, 1u) << "hits alone are one wave";
    }
    return Status::Ok();
  }

  StreamedModel* model_;
  CacheShape shape_;
  AlignedBuffer staging_;
  AlignedBuffer arena_;
  BundleStream stream_;
  NeuronCache cache_;
};

CacheShape RandomShape(std::mt19937* random, const StreamedModel& model) {
  CacheShape shape;
  for (uint32_t layer = 0; layer < 2; ++layer) {
    const uint32_t count = model.bundle_count(layer);
    const uint32_t few = 1 + (*random)() % 3;
    const uint32_t some = (*random)() % (count + 1);
    const uint32_t choices[] = {0, few, some, count};
    shape.slots_per_layer.push_back(choices[(*random)() % 4]);
  }
  shape.staging_bytes = model.staging_bytes_min() * ((*random)() % 3 == 0 ? 1 : 1 + (*random)() % 40);
  shape.part = kParts[(*random)() % 3];
  shape.window_tokens = (*random)() % 7;
  shape.gap_bytes_max = (*random)() % 2 == 0 ? 0 : (*random)() % 20000;
  return shape;
}

void StepRandomly(StreamedModel& model, uint32_t seed, int cache_count) {
  std::mt19937 random(seed);
  for (int i = 0; i < cache_count; ++i) {
    CacheOver over(&model, RandomShape(&random, model));
    const uint32_t percent = random() % 101;
    for (int step = 0; step < 24; ++step) {
      const uint32_t layer = random() % 2;
      // Neighbouring tokens have much in common, so that there are hits; now and then all are active.
      const uint32_t now = random() % 8 == 0 ? 100 : percent;
      const std::vector<BundleIndex> active = RandomBundles(&random, model.bundle_count(layer), now);
      const int arrivals_max = random() % 6 == 0 ? static_cast<int>(random() % 4) : INT32_MAX;  // cancelled there
      const Status status = over.Step(layer, active, arrivals_max);
      ASSERT_TRUE(status.ok()) << status.message();
    }
  }
}

TEST(NeuronCacheTest, EveryViewShowsTheBytesOfTheFile) {
  for (const FfnShape& shape : {FfnShape{}, test::kLongShortRest, test::kGated}) {
    for (const IoEngineKind io : {IoEngineKind::kUring, IoEngineKind::kPread}) {
      StreamedModel model(shape, io);
      StepRandomly(model, 5, 25);
    }
  }
}

TEST(NeuronCacheTest, AnyOrderOfArrivalAndShortReadsGiveTheSameBytes) {
  for (uint32_t seed = 0; seed < 3; ++seed) {
    StreamedModel model(FfnShape{}, [seed](const ModelDirectory&) {
      return FaultyEngineOptions{.seed = seed, .short_read = 0.3, .again = 0.1, .interrupted = 0.1};
    });
    StepRandomly(model, seed, 8);
  }
}

TEST(NeuronCacheTest, HitsComeFirstAndAreNotRead) {
  StreamedModel model(FfnShape{}, IoEngineKind::kPread);
  CacheOver over(&model, {.slots_per_layer = {20, 0}, .staging_bytes = kMiB});
  std::vector<BundleIndex> active = AllBundles(20);
  ASSERT_TRUE(over.Step(0, active).ok());
  const FlashReaderStats before = model.file().reader().stats();
  ASSERT_TRUE(over.Step(0, active).ok());
  EXPECT_EQ(model.file().reader().stats().flash_reads, before.flash_reads);
  EXPECT_EQ(over.cache().stats().cache_hits, 20u);
  EXPECT_EQ(over.cache().resident_count(LayerIndex(0)), 20u);

  active.emplace_back(30);
  over.cache().Begin(LayerIndex(0), active);
  ASSERT_EQ(over.cache().NextWave()->size(), 21u);
  EXPECT_EQ(over.cache().Arrivals()->size(), 20u);
  const auto missed = over.cache().Arrivals();
  ASSERT_TRUE(missed.ok());
  ASSERT_EQ(missed->size(), 1u);
  EXPECT_EQ((*missed)[0].bundle, BundleIndex(30));
  EXPECT_TRUE(over.cache().Arrivals()->empty());
  over.cache().End();
}

TEST(NeuronCacheTest, WaveEndsWithItsLastMissAndTheLastWaveWithAllHits) {
  StreamedModel model(FfnShape{}, IoEngineKind::kPread);
  // Staging for two bundles. Bundles 0, 3 and 9 are hits; 1, 2, 5, 6, 8 are misses.
  CacheOver over(&model,
                 {.slots_per_layer = {3, 0}, .staging_bytes = 2 * model.staging_bytes_min(), .gap_bytes_max = 0});
  const auto bundles = [](std::initializer_list<uint32_t> values) {
    return std::vector<BundleIndex>(values.begin(), values.end());
  };
  ASSERT_TRUE(over.Step(0, bundles({0, 3, 9})).ok());
  over.cache().Begin(LayerIndex(0), bundles({0, 1, 2, 3, 5, 6, 8, 9}));
  for (const std::vector<BundleIndex>& expected : {bundles({0, 1, 2}), bundles({3, 5, 6}), bundles({8, 9}), {}}) {
    const auto wave = over.cache().NextWave();
    ASSERT_TRUE(wave.ok());
    EXPECT_THAT(*wave, ::testing::ElementsAreArray(expected));
    while (!over.cache().Arrivals()->empty()) {
    }
  }
  over.cache().End();
}

TEST(NeuronCacheTest, ActiveSetBeyondTheSlotsKeepsTheFixedPrefix) {
  StreamedModel model(FfnShape{}, IoEngineKind::kPread);
  CacheOver over(&model, {.slots_per_layer = {33, 33}, .staging_bytes = 4 * model.staging_bytes_min()});
  const std::vector<BundleIndex> all = AllBundles(model.bundle_count(0));
  for (int token = 0; token < 6; ++token) {
    for (uint32_t layer = 0; layer < 2; ++layer) ASSERT_TRUE(over.Step(layer, all).ok());
    EXPECT_EQ(over.cache().stats().cache_hits, static_cast<uint64_t>(token) * 2 * 33);
  }
}

TEST(NeuronCacheTest, StepsDoNotAllocate) {
  for (const IoEngineKind io : {IoEngineKind::kUring, IoEngineKind::kPread}) {
    StreamedModel model(FfnShape{}, io);
    CacheOver over(&model,
                   {.slots_per_layer = {50, 10}, .staging_bytes = 7 * model.staging_bytes_min(), .gap_bytes_max = 0});
    std::mt19937 random(2);
    for (int step = 0; step < 40; ++step) {
      const uint32_t layer = step % 2;
      const std::vector<BundleIndex> active =
          RandomBundles(&random, model.bundle_count(layer), step == 0 ? 100 : random() % 101);
      NeuronCache& cache = over.cache();
      const test::AllocationCount before = test::Allocations();
      cache.Begin(LayerIndex(layer), active);
      while (!cache.NextWave()->empty()) {
        while (!cache.Arrivals()->empty()) {
        }
      }
      cache.End();
      ASSERT_EQ(test::Allocations().calls, before.calls);
    }
  }
}

TEST(NeuronCacheTest, CorruptBundleIsAnErrorAndDoesNotBecomeResident) {
  StreamedModel model(FfnShape{}, [](const ModelDirectory&) { return FaultyEngineOptions{}; });
  CacheOver over(&model,
                 {.slots_per_layer = {102, 102}, .staging_bytes = 8 * model.staging_bytes_min(), .gap_bytes_max = 0});
  const std::vector<BundleIndex> all = AllBundles(model.bundle_count(0));
  const uint64_t offset = model.InFile(0, BundleIndex(41), BundlePart::kRest).offset + 7;
  model.FlipByte(offset);
  // Each attempt keeps what arrived before the error; the corrupt bundle stays absent and keeps its name in the error.
  for (int attempt = 0; attempt < 3; ++attempt) {
    const Status status = over.Step(0, all);
    EXPECT_EQ(status.code(), StatusCode::kCorruptData);
    EXPECT_THAT(status.message(), ::testing::HasSubstr("bundle 41"));
    EXPECT_GE(over.cache().resident_count(LayerIndex(0)), 40u);
    EXPECT_LT(over.cache().resident_count(LayerIndex(0)), 102u);
  }
  ASSERT_TRUE(over.Step(1, all).ok());
  model.FlipByte(offset);
  ASSERT_TRUE(over.Step(0, all).ok());
  EXPECT_EQ(over.cache().resident_count(LayerIndex(0)), 102u);
}

TEST(NeuronCacheTest, StepsGoOnAfterReadErrors) {
  for (uint32_t seed = 0; seed < 5; ++seed) {
    StreamedModel model(FfnShape{}, [seed](const ModelDirectory& directory) {
      FaultyEngineOptions options{.seed = seed, .short_read = 0.2};
      for (uint32_t bundle = seed; bundle < 100; bundle += 17) {
        options.faults.push_back({.kind = test::Fault::Kind::kError,
                                  .offset = directory.ffn[0].extent.offset + bundle * 4096 + 3000,
                                  .error = EIO,
                                  .times = 1});
      }
      return options;
    });
    CacheOver over(&model, {.slots_per_layer = {60, 60}, .staging_bytes = 16 * model.staging_bytes_min()});
    std::mt19937 random(seed);
    int error_count = 0;
    for (int step = 0; step < 60; ++step) {
      const Status status = over.Step(0, RandomBundles(&random, model.bundle_count(0), 50));
      if (!status.ok()) ++error_count;
      EXPECT_TRUE(status.ok() || status.code() == StatusCode::kIoError) << status.message();
    }
    EXPECT_GE(error_count, 1);
    EXPECT_LE(error_count, 6);
  }
}

TEST(NeuronCacheTest, HoldsAtMostWhatHeldBytesSays) {
  StreamedModel model(FfnShape{}, IoEngineKind::kPread);
  const AlignedBuffer staging = AllocateOrDie(model.staging_bytes_min());
  const AlignedBuffer arena = AllocateOrDie(90 * 4096);
  BundleStream stream(&model.file(), staging.span(), model.bundle_count(0), {});
  const std::vector<uint32_t> slots = {80, 10};
  for (const uint32_t window_tokens : {0u, 5u}) {
    const test::AllocationCount before = test::Allocations();
    const NeuronCache cache(model.layers(), slots, arena.span(), &stream,
                            {.part = BundlePart::kWhole, .window_tokens = window_tokens});
    EXPECT_LE(test::Allocations().bytes - before.bytes, NeuronCache::HeldBytes(model.layers(), slots));
    EXPECT_EQ(cache.stats().cache_misses, 0u);
  }
}

}  // namespace
}  // namespace glint
