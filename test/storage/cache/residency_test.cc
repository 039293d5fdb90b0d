#include "storage/cache/residency.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "test/storage/cache/allocation_counter.h"

namespace glint {
namespace {

using Placement = Residency::Placement;

std::vector<BundleIndex> Bundles(const std::vector<uint32_t>& values) {
  std::vector<BundleIndex> bundles;
  for (const uint32_t value : values) bundles.emplace_back(value);
  return bundles;
}

// The rules as the header words them, recomputed from nothing at each step; slots are not modelled, only membership.
class NaiveResidency {
 public:
  NaiveResidency(uint32_t slot_count, uint32_t window_tokens)
      : slot_count_(slot_count), window_tokens_(window_tokens) {}

  struct Decision {
    std::set<uint32_t> hits;
    std::set<uint32_t> reserved;
  };

  Decision Step(const std::vector<uint32_t>& active) {
    ++step_;
    Decision decision;
    const size_t slots = window_tokens_ == 0 ? 0 : slot_count_;
    for (const uint32_t bundle : active) {
      if (last_used_.count(bundle) != 0) decision.hits.insert(bundle);
    }
    for (const uint32_t bundle : active) {
      if (decision.hits.count(bundle) == 0 && decision.hits.size() + decision.reserved.size() < slots) {
        decision.reserved.insert(bundle);
      }
    }
    std::vector<std::pair<uint64_t, uint32_t>> older;  // (age, bundle): the order in which they are kept
    for (const auto& [bundle, used] : last_used_) {
      if (decision.hits.count(bundle) == 0 && step_ - used < window_tokens_) older.emplace_back(step_ - used, bundle);
    }
    std::sort(older.begin(), older.end());
    older.resize(std::min(older.size(), slots - decision.hits.size() - decision.reserved.size()));
    std::map<uint32_t, uint64_t> kept;
    for (const auto& [age, bundle] : older) kept[bundle] = step_ - age;
    for (const uint32_t bundle : decision.hits) kept[bundle] = step_;
    last_used_ = std::move(kept);
    return decision;
  }
  void Loaded(uint32_t bundle) { last_used_[bundle] = step_; }
  bool Holds(uint32_t bundle) const { return last_used_.count(bundle) != 0; }
  size_t size() const { return last_used_.size(); }
  uint64_t AgeOf(uint32_t bundle) const { return step_ - last_used_.at(bundle); }

 private:
  uint32_t slot_count_;
  uint32_t window_tokens_;
  uint64_t step_ = 0;
  std::map<uint32_t, uint64_t> last_used_;
};

// One step in which every reservation loads; returns the placements.
std::vector<Placement> Step(Residency& residency, const std::vector<uint32_t>& active) {
  std::vector<Placement> placements;
  residency.BeginStep(Bundles(active), &placements);
  for (const Placement& placement : placements) {
    if (!placement.hit && placement.slot.has_value()) residency.Loaded(placement.bundle);
  }
  residency.EndStep();
  return placements;
}

uint32_t HitCount(const std::vector<Placement>& placements) {
  return static_cast<uint32_t>(std::count_if(placements.begin(), placements.end(), [](auto& p) { return p.hit; }));
}

std::vector<uint32_t> Resident(const Residency& residency, uint32_t bundle_count) {
  std::vector<uint32_t> resident;
  for (uint32_t b = 0; b < bundle_count; ++b) {
    if (residency.SlotOf(BundleIndex(b)).has_value()) resident.push_back(b);
  }
  return resident;
}

// Compares thousands of random steps with the naive model. `contents` stands for the slots' bytes: which bundle was
// copied there last.
void CompareWithNaive(uint32_t seed) {
  std::mt19937 random(seed);
  const uint32_t bundle_count = 1 + random() % 70;
  const uint32_t slot_count = random() % (bundle_count + 4);
  const uint32_t window_tokens = random() % 8;
  const uint32_t first_slot = random() % 1000;
  Residency residency(bundle_count, SlotIndex(first_slot), slot_count, window_tokens);
  NaiveResidency naive(slot_count, window_tokens);
  std::map<uint32_t, uint32_t> contents;
  std::vector<Placement> placements;
  for (int step = 0; step < 200; ++step) {
    const uint32_t percent = random() % 101;
    std::vector<uint32_t> active;
    for (uint32_t b = 0; b < bundle_count; ++b) {
      if (random() % 100 < percent) active.push_back(b);
    }
    const NaiveResidency::Decision expected = naive.Step(active);
    residency.BeginStep(Bundles(active), &placements);
    ASSERT_EQ(placements.size(), active.size());
    std::set<uint32_t> slots_in_use;
    for (size_t i = 0; i < active.size(); ++i) {
      const Placement& placement = placements[i];
      ASSERT_EQ(placement.bundle.value, active[i]);
      ASSERT_EQ(placement.hit, expected.hits.count(active[i]) == 1) << "bundle " << active[i];
      ASSERT_EQ(placement.slot.has_value(), placement.hit || expected.reserved.count(active[i]) == 1);
      if (!placement.slot.has_value()) continue;
      ASSERT_GE(placement.slot->value, first_slot);
      ASSERT_LT(placement.slot->value, first_slot + slot_count);
      ASSERT_TRUE(slots_in_use.insert(placement.slot->value).second) << "two bundles in one slot";
      if (placement.hit) {
        ASSERT_EQ(contents.at(placement.slot->value), active[i]) << "a hit without its bytes";
      }
    }
    const bool fails = random() % 10 == 0;  // only some of the reservations load
    for (const Placement& placement : placements) {
      if (placement.hit || !placement.slot.has_value()) continue;
      if (fails && random() % 2 == 0) continue;
      ASSERT_FALSE(residency.SlotOf(placement.bundle).has_value()) << "resident before its bytes were there";
      contents[placement.slot->value] = placement.bundle.value;
      residency.Loaded(placement.bundle);
      naive.Loaded(placement.bundle.value);
    }
    // An active bundle with a slot keeps it, whatever else happened in the step.
    for (const Placement& placement : placements) {
      if (placement.hit) {
        ASSERT_EQ(residency.SlotOf(placement.bundle), placement.slot);
      }
    }
    residency.EndStep();
    ASSERT_EQ(residency.resident_count(), naive.size());
    std::set<uint32_t> slots;
    for (uint32_t b = 0; b < bundle_count; ++b) {
      const std::optional<SlotIndex> slot = residency.SlotOf(BundleIndex(b));
      ASSERT_EQ(slot.has_value(), naive.Holds(b)) << "bundle " << b;
      if (!slot.has_value()) continue;
      ASSERT_EQ(contents.at(slot->value), b);
      ASSERT_TRUE(slots.insert(slot->value).second);
      ASSERT_LT(naive.AgeOf(b), window_tokens);
    }
  }
}

TEST(ResidencyTest, DecidesAsTheNaiveModelOverThousandsOfRandomSteps) {
  for (uint32_t seed = 0; seed < 100 && !::testing::Test::HasFatalFailure(); ++seed) {
    SCOPED_TRACE(seed);
    CompareWithNaive(seed);
  }
}

TEST(ResidencyTest, ActiveBundleIsNeverEvicted) {
  Residency residency(8, SlotIndex(0), 3, 5);
  Step(residency, {1, 4, 6});
  // Seven actives want three slots that hold three of them: all stay, and no other gets one.
  const std::vector<Placement> placements = Step(residency, {0, 1, 2, 3, 4, 5, 6});
  EXPECT_EQ(HitCount(placements), 3u);
  EXPECT_THAT(Resident(residency, 8), ::testing::ElementsAre(1, 4, 6));
}

TEST(ResidencyTest, CyclicUseOfMoreBundlesThanSlotsHitsAFixedPrefix) {
  for (const uint32_t slot_count : {1u, 7u, 19u, 20u}) {
    Residency residency(20, SlotIndex(0), slot_count, 5);
    std::vector<uint32_t> all;
    for (uint32_t b = 0; b < 20; ++b) all.push_back(b);
    EXPECT_EQ(HitCount(Step(residency, all)), 0u);
    for (int step = 0; step < 10; ++step) {
      const std::vector<Placement> placements = Step(residency, all);
      EXPECT_EQ(HitCount(placements), slot_count);
      for (uint32_t b = 0; b < 20; ++b) EXPECT_EQ(placements[b].hit, b < slot_count);
    }
  }
}

TEST(ResidencyTest, KeepsWhatTheWindowUsedAndNothingOlder) {
  Residency residency(10, SlotIndex(0), 10, 2);
  Step(residency, {0, 1});
  Step(residency, {2});  // 0 and 1 were last used one step ago
  EXPECT_THAT(Resident(residency, 10), ::testing::ElementsAre(0, 1, 2));
  Step(residency, {1});  // 0 was last used two steps ago
  EXPECT_THAT(Resident(residency, 10), ::testing::ElementsAre(1, 2));
  Step(residency, {});
  EXPECT_THAT(Resident(residency, 10), ::testing::ElementsAre(1));
  Step(residency, {});
  EXPECT_EQ(residency.resident_count(), 0u);
}

TEST(ResidencyTest, MostRecentThenLowestIndexStaysWhereSlotsAreFew) {
  Residency residency(10, SlotIndex(0), 4, 9);
  Step(residency, {7, 8});
  Step(residency, {2, 5});
  Step(residency, {9});  // one must go: of the older step's 7 and 8 the higher
  EXPECT_THAT(Resident(residency, 10), ::testing::ElementsAre(2, 5, 7, 9));
  Step(residency, {0, 1});  // 9 is newest; of 2 and 5 the lower
  EXPECT_THAT(Resident(residency, 10), ::testing::ElementsAre(0, 1, 2, 9));
}

TEST(ResidencyTest, WithoutWindowOrSlotsNothingIsKept) {
  Residency no_window(6, SlotIndex(0), 6, 0);
  Residency no_slots(6, SlotIndex(0), 0, 5);
  for (Residency* residency : {&no_window, &no_slots}) {
    for (int step = 0; step < 3; ++step) {
      for (const Placement& placement : Step(*residency, {0, 3, 5})) {
        EXPECT_FALSE(placement.hit);
        EXPECT_FALSE(placement.slot.has_value());
      }
      EXPECT_EQ(residency->resident_count(), 0u);
    }
  }
}

TEST(ResidencyTest, ReservationThatDidNotLoadIsGivenUp) {
  Residency residency(4, SlotIndex(0), 2, 5);
  std::vector<Placement> placements;
  residency.BeginStep(Bundles({1, 2}), &placements);
  residency.Loaded(BundleIndex(2));
  residency.EndStep();
  EXPECT_FALSE(residency.SlotOf(BundleIndex(1)).has_value());
  EXPECT_TRUE(residency.SlotOf(BundleIndex(2)).has_value());
  // The slot that was given up serves again beside the one that is held.
  EXPECT_EQ(HitCount(Step(residency, {0, 2})), 1u);
  EXPECT_EQ(residency.resident_count(), 2u);
}

TEST(ResidencyTest, HoldsAtMostWhatHeldBytesSays) {
  for (const auto& [bundle_count, slot_count] : {std::pair{16384u, 3000u}, {1u, 1u}, {100u, 0u}}) {
    const test::AllocationCount before = test::Allocations();
    const Residency residency(bundle_count, SlotIndex(0), slot_count, 5);
    const test::AllocationCount after = test::Allocations();
    EXPECT_LE(after.bytes - before.bytes, Residency::HeldBytes(bundle_count, slot_count));
    EXPECT_EQ(residency.slot_count(), slot_count);
  }
}

TEST(ResidencyDeathTest, StepsDoNotNestAndOnlyReservationsLoad) {
  Residency residency(4, SlotIndex(0), 2, 5);
  std::vector<Placement> placements;
  EXPECT_DEATH(residency.Loaded(BundleIndex(0)), "");
  EXPECT_DEATH(residency.EndStep(), "");
  residency.BeginStep(Bundles({0}), &placements);
  EXPECT_DEATH(residency.BeginStep(Bundles({1}), &placements), "");
  EXPECT_DEATH(residency.Loaded(BundleIndex(3)), "");
  EXPECT_DEATH(Residency(4, SlotIndex(0), 2, 5).BeginStep(Bundles({2, 1}), &placements), "");
}

}  // namespace
}  // namespace glint
