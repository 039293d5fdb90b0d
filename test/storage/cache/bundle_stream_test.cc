#include "storage/cache/bundle_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <string>

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
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr BundlePart kParts[] = {BundlePart::kWhole, BundlePart::kFirst, BundlePart::kRest};
const FfnShape kShapes[] = {FfnShape{}, test::kLongShortRest, test::kGated};

// Streams `bundles` to their end, and checks waves, order and bytes. Returns the first error.
Status StreamAndCheck(StreamedModel& model, BundleStream& stream, uint32_t layer, BundlePart part,
                      const std::vector<BundleIndex>& bundles) {
  stream.Begin(model.layers()[layer], part, bundles);
  size_t begun = 0;
  Status status;
  while (status.ok()) {
    const auto wave = stream.NextWave();
    status = wave.status();
    if (!status.ok() || wave->empty()) break;
    // A wave is the next ascending run.
    EXPECT_TRUE(std::equal(wave->begin(), wave->end(), bundles.begin() + static_cast<ptrdiff_t>(begun)));
    std::vector<BundleView> views;
    while (true) {
      const auto arrivals = stream.Arrivals();
      status = arrivals.status();
      if (!status.ok() || arrivals->empty()) break;
      for (const BundleView& view : *arrivals) model.ExpectRows(layer, part, view);
      views.insert(views.end(), arrivals->begin(), arrivals->end());
    }
    if (!status.ok()) break;
    // Views stay valid for the whole wave.
    for (const BundleView& view : views) model.ExpectRows(layer, part, view);
    std::sort(views.begin(), views.end(), [](auto& a, auto& b) { return a.bundle < b.bundle; });
    EXPECT_TRUE(std::equal(wave->begin(), wave->end(), views.begin(), views.end(),
                           [](BundleIndex bundle, const BundleView& view) { return bundle == view.bundle; }));
    begun += wave->size();
  }
  stream.End();
  EXPECT_TRUE(!status.ok() || begun == bundles.size());
  return status;
}

uint64_t PartBytesOf(const StreamedModel& model, uint32_t layer, BundlePart part,
                     const std::vector<BundleIndex>& bundles) {
  uint64_t bytes = 0;
  for (const BundleIndex bundle : bundles) bytes += model.layout(layer).ExtentOf(bundle, part).bytes;
  return bytes;
}

// Random sets, parts, staging sizes from the least, gaps and chunk sizes over one opened model.
void StreamRandomSets(StreamedModel& model, uint32_t seed, int round_count) {
  std::mt19937 random(seed);
  for (int round = 0; round < round_count; ++round) {
    const uint64_t least = model.staging_bytes_min();
    const AlignedBuffer staging = AllocateOrDie(least * (1 + (random() % 3 == 0 ? 0 : random() % 40)));
    const BundleStreamOptions options = {.gap_bytes_max = random() % 3 == 0 ? 0 : random() % 32768,
                                         .chunk_bytes_max = 512u << (random() % 10)};
    BundleStream stream(&model.file(), staging.span(), model.bundle_count(0), options);
    uint64_t asked_bytes = 0;
    for (int use = 0; use < 3; ++use) {
      const uint32_t layer = random() % 2;
      const BundlePart part = kParts[random() % 3];
      const std::vector<BundleIndex> bundles = RandomBundles(&random, model.bundle_count(layer), random() % 101);
      const Status status = StreamAndCheck(model, stream, layer, part, bundles);
      ASSERT_TRUE(status.ok()) << status.message();
      asked_bytes += PartBytesOf(model, layer, part, bundles);
    }
    ASSERT_EQ(stream.stats().missed_bundle_bytes, asked_bytes);
  }
}

class BundleStreamEngineTest : public ::testing::TestWithParam<IoEngineKind> {};

TEST_P(BundleStreamEngineTest, EveryViewShowsTheBytesOfTheFile) {
  for (const FfnShape& shape : kShapes) {
    for (const DirectIo direct : {DirectIo::kAuto, DirectIo::kOff}) {
      StreamedModel model(shape, GetParam(), direct);
      StreamRandomSets(model, 11, 60);
    }
  }
}

TEST_P(BundleStreamEngineTest, StreamingDoesNotAllocate) {
  StreamedModel model(FfnShape{}, GetParam());
  const AlignedBuffer staging = AllocateOrDie(5 * model.staging_bytes_min());
  BundleStream stream(&model.file(), staging.span(), model.bundle_count(0), {.gap_bytes_max = 0});
  const std::vector<BundleIndex> bundles = AllBundles(model.bundle_count(0));
  const test::AllocationCount before = test::Allocations();
  for (const BundlePart part : kParts) {
    stream.Begin(model.layers()[1], part, bundles);
    while (!stream.NextWave()->empty()) {
      while (!stream.Arrivals()->empty()) {
      }
    }
    stream.End();
  }
  EXPECT_EQ(test::Allocations().calls, before.calls);
}

TEST_P(BundleStreamEngineTest, EndInTheMiddleLeavesItUsable) {
  StreamedModel model(FfnShape{}, GetParam());
  const AlignedBuffer staging = AllocateOrDie(20 * model.staging_bytes_min());
  BundleStream stream(&model.file(), staging.span(), model.bundle_count(0), {.gap_bytes_max = 0});
  const std::vector<BundleIndex> bundles = AllBundles(model.bundle_count(0));
  for (int calls = 0; calls < 4; ++calls) {
    stream.Begin(model.layers()[0], BundlePart::kWhole, bundles);
    if (calls > 0) {
      ASSERT_TRUE(stream.NextWave().ok());
    }
    for (int i = 1; i < calls; ++i) ASSERT_TRUE(stream.Arrivals().ok());
    stream.End();
    EXPECT_EQ(model.file().reader().in_flight(), 0u);
    EXPECT_TRUE(StreamAndCheck(model, stream, 1, BundlePart::kRest, bundles).ok());
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, BundleStreamEngineTest, ::testing::Values(IoEngineKind::kUring, IoEngineKind::kPread),
                         [](const auto& engine) { return engine.param == IoEngineKind::kUring ? "Uring" : "Pread"; });

TEST(BundleStreamTest, LeastStagingHoldsOneBundlePerWave) {
  StreamedModel model(FfnShape{}, IoEngineKind::kPread);
  const AlignedBuffer staging = AllocateOrDie(model.staging_bytes_min());
  BundleStream stream(&model.file(), staging.span(), model.bundle_count(0), {});
  stream.Begin(model.layers()[0], BundlePart::kWhole, AllBundles(5));
  for (uint32_t b = 0; b < 5; ++b) {
    const auto wave = stream.NextWave();
    ASSERT_TRUE(wave.ok());
    EXPECT_THAT(*wave, ::testing::ElementsAre(BundleIndex(b)));
    while (!stream.Arrivals()->empty()) {
    }
  }
  EXPECT_TRUE(stream.NextWave()->empty());
  stream.End();
}

TEST(BundleStreamTest, WithGapsOffItReadsOnlyWhatIsWanted) {
  StreamedModel model(FfnShape{}, IoEngineKind::kPread);
  if (model.file().reader().alignment() > 2048) GTEST_SKIP() << "granules of 2 KiB share this device's blocks";
  const AlignedBuffer staging = AllocateOrDie(kMiB);
  std::mt19937 random(3);
  const std::vector<BundleIndex> bundles = RandomBundles(&random, model.bundle_count(0), 30);
  uint64_t read_bytes[2] = {};
  for (const bool gaps : {false, true}) {
    BundleStream stream(&model.file(), staging.span(), model.bundle_count(0),
                        {.gap_bytes_max = gaps ? 8 * kKiB : uint64_t{0}});
    const uint64_t before = model.file().reader().stats().flash_read_bytes;
    ASSERT_TRUE(StreamAndCheck(model, stream, 0, BundlePart::kRest, bundles).ok());
    read_bytes[gaps ? 1 : 0] = model.file().reader().stats().flash_read_bytes - before;
  }
  EXPECT_EQ(read_bytes[0], PartBytesOf(model, 0, BundlePart::kRest, bundles));
  EXPECT_GT(read_bytes[1], read_bytes[0]);
}

TEST(BundleStreamTest, NeighboursShareReads) {
  StreamedModel model(FfnShape{}, IoEngineKind::kPread);
  const AlignedBuffer staging = AllocateOrDie(kMiB);
  BundleStream stream(&model.file(), staging.span(), model.bundle_count(0), {.chunk_bytes_max = 64 * kKiB});
  const uint64_t before = model.file().reader().stats().flash_reads;
  ASSERT_TRUE(StreamAndCheck(model, stream, 0, BundlePart::kWhole, AllBundles(64)).ok());
  EXPECT_EQ(model.file().reader().stats().flash_reads - before, 64u * 4096 / (64 * kKiB));
}

TEST(BundleStreamTest, OnlyWhatWasAskedForIsVerified) {
  StreamedModel model(FfnShape{}, IoEngineKind::kPread);
  const AlignedBuffer staging = AllocateOrDie(kMiB);
  BundleStream stream(&model.file(), staging.span(), model.bundle_count(0), {.gap_bytes_max = 64 * kKiB});
  // Bundle 4 lies in the gap between two wanted ones, the first rows of bundle 5 before its rest.
  model.FlipByte(model.InFile(0, BundleIndex(4), BundlePart::kRest).offset);
  model.FlipByte(model.InFile(0, BundleIndex(5), BundlePart::kFirst).offset);
  EXPECT_TRUE(
      StreamAndCheck(model, stream, 0, BundlePart::kRest, {BundleIndex(3), BundleIndex(5), BundleIndex(6)}).ok());
}

TEST(BundleStreamTest, AnyOrderOfArrivalAndShortReadsGiveTheSameBytes) {
  for (const FfnShape& shape : kShapes) {
    for (uint32_t seed = 0; seed < 4; ++seed) {
      StreamedModel model(shape, [seed](const ModelDirectory&) {
        return FaultyEngineOptions{
            .seed = seed, .queue_depth_max = 1 + seed * 21, .short_read = 0.3, .again = 0.1, .interrupted = 0.1};
      });
      StreamRandomSets(model, seed, 10);
    }
  }
}

// The offset of a byte of layer 0's bundle 9.
uint64_t ByteOfBundle9(const ModelDirectory& directory, BundlePart part) {
  const FfnEntry& entry = directory.ffn[0];
  return entry.extent.offset + entry.layout.ExtentOf(BundleIndex(9), part).offset + 100;
}

TEST(BundleStreamTest, BytesThatAreWrongOnceAreReadAgainAndGoOn) {
  for (const BundlePart granule : {BundlePart::kFirst, BundlePart::kRest}) {
    StreamedModel model(FfnShape{}, [granule](const ModelDirectory& directory) {
      return FaultyEngineOptions{
          .faults = {{.kind = test::Fault::Kind::kCorrupt, .offset = ByteOfBundle9(directory, granule), .times = 1}}};
    });
    const AlignedBuffer staging = AllocateOrDie(16 * model.staging_bytes_min());
    BundleStream stream(&model.file(), staging.span(), model.bundle_count(0), {});
    const Status status = StreamAndCheck(model, stream, 0, BundlePart::kWhole, AllBundles(model.bundle_count(0)));
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_FALSE(model.file().reader().file().direct()) << "a device that lied is not read directly any more";
    EXPECT_TRUE(StreamAndCheck(model, stream, 1, BundlePart::kRest, AllBundles(model.bundle_count(1))).ok());
  }
}

TEST(BundleStreamTest, BytesThatStayWrongAreANamedErrorAndEndLeavesItUsable) {
  for (const BundlePart granule : {BundlePart::kFirst, BundlePart::kRest}) {
    StreamedModel model(FfnShape{}, [](const ModelDirectory&) { return FaultyEngineOptions{}; });
    const AlignedBuffer staging = AllocateOrDie(16 * model.staging_bytes_min());
    BundleStream stream(&model.file(), staging.span(), model.bundle_count(0), {.gap_bytes_max = 0});
    const uint64_t offset = ByteOfBundle9(model.file().directory(), granule);
    model.FlipByte(offset);
    const std::vector<BundleIndex> all = AllBundles(model.bundle_count(0));
    for (const BundlePart part : {BundlePart::kWhole, granule}) {
      const Status status = StreamAndCheck(model, stream, 0, part, all);
      EXPECT_EQ(status.code(), StatusCode::kCorruptData);
      EXPECT_THAT(status.message(), AllOf(HasSubstr("streamed.glint"), HasSubstr("bundle 9"),
                                          HasSubstr(std::to_string(model.InFile(0, BundleIndex(9), granule).offset))));
    }
    EXPECT_EQ(model.file().reader().in_flight(), 0u);
    EXPECT_TRUE(StreamAndCheck(model, stream, 1, BundlePart::kWhole, all).ok());
    model.FlipByte(offset);
    EXPECT_TRUE(StreamAndCheck(model, stream, 0, BundlePart::kWhole, all).ok());
  }
}

TEST(BundleStreamTest, ReadErrorIsReportedAndEndLeavesItUsable) {
  StreamedModel model(FfnShape{}, [](const ModelDirectory& directory) {
    return FaultyEngineOptions{.faults = {{.kind = test::Fault::Kind::kError,
                                           .offset = ByteOfBundle9(directory, BundlePart::kRest),
                                           .error = EIO,
                                           .times = 2}}};
  });
  const AlignedBuffer staging = AllocateOrDie(16 * model.staging_bytes_min());
  BundleStream stream(&model.file(), staging.span(), model.bundle_count(0), {.gap_bytes_max = 0});
  const std::vector<BundleIndex> all = AllBundles(model.bundle_count(0));
  for (int attempt = 0; attempt < 2; ++attempt) {
    const Status status = StreamAndCheck(model, stream, 0, BundlePart::kWhole, all);
    EXPECT_EQ(status.code(), StatusCode::kIoError);
    EXPECT_THAT(status.message(), HasSubstr("streamed.glint"));
    EXPECT_EQ(model.file().reader().in_flight(), 0u);
  }
  EXPECT_TRUE(StreamAndCheck(model, stream, 0, BundlePart::kWhole, all).ok());
}

TEST(BundleStreamTest, HoldsAtMostWhatHeldBytesSays) {
  StreamedModel model(FfnShape{}, IoEngineKind::kPread);
  const AlignedBuffer staging = AllocateOrDie(model.staging_bytes_min());
  for (const uint32_t bundle_count_max : {102u, 16384u}) {
    const test::AllocationCount before = test::Allocations();
    const BundleStream stream(&model.file(), staging.span(), bundle_count_max, {});
    EXPECT_LE(test::Allocations().bytes - before.bytes, BundleStream::HeldBytes(bundle_count_max));
    EXPECT_EQ(stream.stats().missed_bundle_bytes, 0u);
  }
}

}  // namespace
}  // namespace glint
