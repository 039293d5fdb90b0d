#include "storage/flash/read_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

#include "glint/base/units.h"

namespace glint {
namespace {

using ::testing::ElementsAre;

std::vector<Extent> Extents(const std::vector<Chunk>& chunks) {
  std::vector<Extent> extents;
  for (const Chunk& chunk : chunks) extents.push_back(chunk.extent);
  return extents;
}

struct Plan {
  std::vector<Chunk> chunks;
  uint32_t covered = 0;
};

Plan PlanOf(const std::vector<Extent>& wanted, const ReadPlanOptions& options) {
  Plan plan;
  plan.covered = PlanReads(wanted, options, &plan.chunks);
  return plan;
}

TEST(ReadPlanTest, TouchingExtentsBecomeOneChunk) {
  const Plan plan = PlanOf({{0, 100}, {100, 50}, {200, 10}}, {.staging_bytes = 1000});
  EXPECT_EQ(plan.covered, 3u);
  EXPECT_THAT(Extents(plan.chunks), ElementsAre(Extent{0, 150}, Extent{200, 10}));
}

TEST(ReadPlanTest, AGapIsReadWhereItIsWorthIt) {
  const std::vector<Extent> wanted = {{0, 512}, {1024, 512}, {3072, 512}};
  EXPECT_THAT(Extents(PlanOf(wanted, {.alignment = 512, .gap_bytes_max = 512, .staging_bytes = 4096}).chunks),
              ElementsAre(Extent{0, 1536}, Extent{3072, 512}));
  EXPECT_THAT(Extents(PlanOf(wanted, {.alignment = 512, .gap_bytes_max = 511, .staging_bytes = 4096}).chunks),
              ElementsAre(Extent{0, 512}, Extent{1024, 512}, Extent{3072, 512}));
}

TEST(ReadPlanTest, GapsOffStillJoinsWhatSharesAnAlignedBlock) {
  const Plan plan = PlanOf({{10, 20}, {400, 20}, {600, 20}, {2000, 20}}, {.alignment = 512, .staging_bytes = 8192});
  EXPECT_THAT(Extents(plan.chunks), ElementsAre(Extent{0, 1024}, Extent{1536, 512}));
}

TEST(ReadPlanTest, AChunkEndsAtItsLimitButALongExtentIsWhole) {
  const Plan plan = PlanOf({{0, 1000}, {1000, 1000}, {2000, 5000}}, {.chunk_bytes_max = 2000, .staging_bytes = 10000});
  EXPECT_THAT(Extents(plan.chunks), ElementsAre(Extent{0, 2000}, Extent{2000, 5000}));
}

TEST(ReadPlanTest, ABlockIsNotReadTwiceToKeepTheChunkLimit) {
  const Plan plan = PlanOf({{0, 700}, {700, 700}}, {.alignment = 512, .chunk_bytes_max = 1024, .staging_bytes = 4096});
  EXPECT_THAT(Extents(plan.chunks), ElementsAre(Extent{0, 1536}));
}

TEST(ReadPlanTest, ThePrefixEndsWhereStagingDoes) {
  const std::vector<Extent> wanted = {{0, 100}, {200, 100}, {400, 100}};
  EXPECT_EQ(PlanOf(wanted, {.staging_bytes = 299}).covered, 2u);
  EXPECT_EQ(PlanOf(wanted, {.staging_bytes = 300}).covered, 3u);
  EXPECT_EQ(PlanOf(wanted, {.staging_bytes = 300, .chunks_max = 1}).covered, 1u);
}

TEST(ReadPlanTest, NothingWantedIsNothingRead) {
  const Plan plan = PlanOf({}, {.staging_bytes = 100});
  EXPECT_EQ(plan.covered, 0u);
  EXPECT_TRUE(plan.chunks.empty());
}

TEST(ReadPlanTest, DoesNotAllocateWhereTheCapacitySuffices) {
  std::vector<Chunk> chunks;
  chunks.reserve(3);
  const Chunk* before = chunks.data();
  PlanReads(std::vector<Extent>{{0, 1}, {2, 1}, {4, 1}}, {.staging_bytes = 100}, &chunks);
  EXPECT_EQ(chunks.data(), before);
  EXPECT_EQ(chunks.size(), 3u);
}

TEST(ReadPlanDeathTest, StagingHoldsTheFirstExtent) {
  std::vector<Chunk> chunks;
  EXPECT_DEATH(PlanReads(std::vector<Extent>{{0, 101}}, {.staging_bytes = 100}, &chunks), "check failed");
}

// One random question, and what must hold of any answer to it.
class ReadPlanProperty {
 public:
  explicit ReadPlanProperty(uint64_t seed) : random_(seed) {
    options_.alignment = 1u << UpTo(7);
    const uint64_t scale = 1 + UpTo(300);
    uint64_t offset = UpTo(1000);
    wanted_.resize(1 + UpTo(24));
    uint64_t longest = 0;
    for (Extent& extent : wanted_) {
      if (UpTo(2) > 0) offset += UpTo(scale);  // else it touches the one before
      extent = {.offset = offset, .bytes = 1 + UpTo(scale)};
      offset = extent.end();
      longest = std::max(longest, Aligned(extent).bytes);
    }
    options_.gap_bytes_max = UpTo(1) * UpTo(scale);
    options_.chunk_bytes_max = 1 + UpTo(4 * scale);
    options_.staging_bytes = longest + UpTo(1) * UpTo(20 * scale);
    options_.chunks_max = UpTo(3) == 0 ? 1 + static_cast<uint32_t>(UpTo(8)) : 1u << 20;
  }

  void Check() {
    const uint32_t covered = PlanReads(wanted_, options_, &chunks_);
    ASSERT_GE(covered, 1u);
    ASSERT_LE(covered, wanted_.size());
    ASSERT_LE(chunks_.size(), options_.chunks_max);
    uint32_t next = 0;
    uint64_t staged_bytes = 0;
    for (size_t i = 0; i < chunks_.size(); ++i) {
      const Chunk& chunk = chunks_[i];
      ASSERT_EQ(chunk.extent.offset % options_.alignment, 0u);
      ASSERT_EQ(chunk.extent.bytes % options_.alignment, 0u);
      ASSERT_GE(chunk.extent.offset, i > 0 ? chunks_[i - 1].extent.end() : 0);
      // Staging is used front to back, without holes: aligned because every chunk is.
      ASSERT_EQ(chunk.staging_offset, staged_bytes);
      staged_bytes += chunk.extent.bytes;
      // Every extent lies in exactly one chunk, in order, and the chunk holds no byte beyond its outer ones' blocks.
      ASSERT_EQ(chunk.first, next);
      ASSERT_GE(chunk.count, 1u);
      next += chunk.count;
      ASSERT_LE(next, covered);
      ASSERT_EQ(chunk.extent.offset, Aligned(wanted_[chunk.first]).offset);
      ASSERT_EQ(chunk.extent.end(), Aligned(wanted_[next - 1]).end());
      CheckJoins(chunk);
      if (i > 0) CheckParting(chunks_[i - 1], chunk);
    }
    ASSERT_EQ(next, covered);
    ASSERT_LE(staged_bytes, options_.staging_bytes);
    if (covered < wanted_.size()) CheckNoMoreFits(covered, staged_bytes);
  }

 private:
  uint64_t UpTo(uint64_t max) { return random_() % (max + 1); }

  Extent Aligned(const Extent& extent) const {
    const uint64_t start = AlignDown(extent.offset, options_.alignment);
    return {.offset = start, .bytes = AlignUp(extent.end(), options_.alignment) - start};
  }

  // Whether two neighbours may stand in one chunk that begins at `chunk_offset`.
  bool MayJoin(uint64_t chunk_offset, const Extent& before, const Extent& after) const {
    const Extent a = Aligned(before);
    const Extent b = Aligned(after);
    if (b.offset < a.end()) return true;  // a shared block
    return b.offset - a.end() <= options_.gap_bytes_max && b.end() - chunk_offset <= options_.chunk_bytes_max;
  }

  void CheckJoins(const Chunk& chunk) const {
    for (uint32_t i = chunk.first + 1; i < chunk.first + chunk.count; ++i) {
      ASSERT_TRUE(MayJoin(chunk.extent.offset, wanted_[i - 1], wanted_[i]));
    }
  }

  void CheckParting(const Chunk& before, const Chunk& chunk) const {
    ASSERT_FALSE(MayJoin(before.extent.offset, wanted_[chunk.first - 1], wanted_[chunk.first]));
  }

  void CheckNoMoreFits(uint32_t covered, uint64_t staged_bytes) const {
    const Extent& left_out = wanted_[covered];
    const bool joins = MayJoin(chunks_.back().extent.offset, wanted_[covered - 1], left_out);
    const uint64_t more_bytes = joins ? Aligned(left_out).end() - chunks_.back().extent.end() : Aligned(left_out).bytes;
    ASSERT_TRUE(staged_bytes + more_bytes > options_.staging_bytes ||
                (!joins && chunks_.size() == options_.chunks_max));
  }

  std::mt19937_64 random_;
  std::vector<Extent> wanted_;
  ReadPlanOptions options_;
  std::vector<Chunk> chunks_;
};

TEST(ReadPlanTest, EveryPlanCoversTheLongestPrefixOnceWithinItsLimits) {
  for (uint64_t seed = 0; seed < 50000; ++seed) {
    ReadPlanProperty property(seed);
    property.Check();
    if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
  }
}

// Small enough to try them all: up to three extents within 12 bytes, every alignment, gap and limit.
TEST(ReadPlanTest, EverySmallPlanCoversEachWantedByteInOneChunk) {
  std::vector<Chunk> chunks;
  std::vector<Extent> wanted;
  for (uint32_t bits = 1; bits < (1u << 12); ++bits) {
    wanted.clear();
    for (uint64_t i = 0; i < 12; ++i) {
      if ((bits >> i & 1u) == 0) continue;
      if (!wanted.empty() && wanted.back().end() == i && i % 3 != 0) {
        ++wanted.back().bytes;
      } else {
        wanted.push_back({.offset = i, .bytes = 1});
      }
    }
    for (const uint32_t alignment : {1, 2, 4}) {
      for (uint64_t gap = 0; gap < 4; ++gap) {
        for (uint64_t limit = 1; limit < 8; ++limit) {
          const ReadPlanOptions options = {
              .alignment = alignment, .gap_bytes_max = gap, .chunk_bytes_max = limit, .staging_bytes = 16};
          ASSERT_EQ(PlanReads(wanted, options, &chunks), wanted.size());
          std::array<uint32_t, 16> read = {};
          for (const Chunk& chunk : chunks) {
            for (uint64_t i = chunk.extent.offset; i < chunk.extent.end(); ++i) ++read[i];
          }
          for (uint64_t i = 0; i < 16; ++i) ASSERT_LE(read[i], 1u);
          for (uint64_t i = 0; i < 12; ++i) ASSERT_GE(read[i], bits >> i & 1u) << bits;
        }
      }
    }
  }
}

}  // namespace
}  // namespace glint
