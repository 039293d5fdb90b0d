// The plan is pure: directories of any size are made in memory, none has a file.
#include "runtime/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "glint/base/text.h"
#include "storage/checkpoint/opt_packer.h"

namespace glint {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

struct Shape {
  const char* name;
  uint32_t layers, hidden, ffn, heads, vocab, context;
};

constexpr Shape kTiny = {"tiny", 2, 64, 96, 4, 260, 64};
constexpr Shape kTales = {"tales", 8, 256, 1024, 8, 4096, 512};
constexpr Shape kOpt6B = {"opt_6b", 32, 4096, 16384, 32, 50272, 2048};
constexpr Shape kOpt66B = {"opt_66b", 64, 9216, 36864, 72, 50272, 2048};

// The directory that packing such a model would write, but for names and places that the plan does not look at.
ModelDirectory DirectoryOf(const Shape& shape, WeightType type = WeightType::kF16) {
  ModelDirectory directory;
  ModelConfig& config = directory.config;
  config.architecture = "opt";
  config.name = shape.name;
  config.layer_count = shape.layers;
  config.hidden_size = shape.hidden;
  config.ffn_size = shape.ffn;
  config.head_count = shape.heads;
  config.vocab_size = shape.vocab;
  config.embedding_size = shape.hidden;
  config.context_max = shape.context;
  config.position_offset = 2;
  config.activity = 0.05;
  EXPECT_TRUE(ValidateModelConfig(config).ok());
  directory.type = type;
  directory.tokenizer.extent.bytes = 1'000'000;
  directory.tables.resize(1 + shape.layers);
  const BundleLayout layout = BundleLayout::Choose(shape.ffn, shape.hidden, type, /*gated=*/false);
  for (Section& table : directory.tables) {
    table.extent.bytes = (shape.ffn + 9 * shape.hidden) * sizeof(float) + layout.bundle_count() * 2 * sizeof(uint64_t);
  }
  for (const TensorSpec& spec : TensorSpecs(config)) {
    if (spec.is_vector) {
      directory.vectors.push_back({.name = spec.name, .values = {.count = spec.columns}});
      continue;
    }
    const WeightType stored = TypeOf(spec.name, type);
    directory.matrices.push_back({.name = spec.name, .type = stored, .rows = spec.rows, .columns = spec.columns});
    directory.matrices.back().extent.bytes = spec.rows * RowStride(stored, spec.columns);
  }
  for (uint32_t i = 0; i < shape.layers; ++i) {
    directory.ffn.push_back({.layout = layout, .extent = {.bytes = layout.extent_bytes()}});
  }
  return directory;
}

uint64_t Sum(const std::vector<uint32_t>& counts) { return std::accumulate(counts.begin(), counts.end(), uint64_t{0}); }

uint64_t LeastBudget(const ModelDirectory& directory, MemoryRequest request) {
  request.budget_bytes = uint64_t{1} << 50;
  return PlanMemory(directory, request).value().least_budget_bytes;
}

// Budgets from the least to more than everything takes, close together near the least, but always more than a page
// apart: page tables grow by whole pages.
std::vector<uint64_t> BudgetsFrom(uint64_t least, const ModelDirectory& directory) {
  uint64_t all = least + (64 << 20);
  for (const FfnEntry& ffn : directory.ffn) all += 2 * ffn.extent.bytes;
  std::vector<uint64_t> budgets;
  for (uint64_t more = 0; least + more < all; more = more * 9 / 8 + 4097) budgets.push_back(least + more);
  budgets.push_back(all);
  return budgets;
}

struct Case {
  Shape shape;
  WeightType type;
  MemoryRequest request;  // without budget
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.shape.name; }

class MemoryPlanTest : public ::testing::TestWithParam<Case> {
 protected:
  MemoryPlan Plan(uint64_t budget_bytes) const {
    MemoryRequest request = GetParam().request;
    request.budget_bytes = budget_bytes;
    const Result<MemoryPlan> plan = PlanMemory(directory_, request);
    EXPECT_TRUE(plan.ok()) << budget_bytes << ": " << plan.status().message();
    return plan.ok() ? *plan : MemoryPlan{};
  }

  const ModelDirectory directory_ = DirectoryOf(GetParam().shape, GetParam().type);
  const uint64_t least_ = LeastBudget(directory_, GetParam().request);
};

constexpr uint64_t kRings = 300'000;

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const Shape& shape : {kTiny, kTales, kOpt6B, kOpt66B}) {
    for (const WeightType type : {WeightType::kF16, WeightType::kQ4_0}) {
      for (const bool first : {true, false}) {
        cases.push_back({shape,
                         type,
                         {.context = shape.context / 2,
                          .sessions_max = first ? 1U : 3U,
                          .threads = first ? 2U : 5U,
                          .rows_known_first = first,
                          .reader_held_bytes = kRings}});
      }
    }
  }
  return cases;
}

std::string CaseName(const ::testing::TestParamInfo<Case>& info) {
  return Concat(info.param.shape.name, "_", WeightTypeName(info.param.type),
                info.param.request.rows_known_first ? "_exact" : "_all");
}

INSTANTIATE_TEST_SUITE_P(Models, MemoryPlanTest, ::testing::ValuesIn(Cases()), CaseName);

TEST_P(MemoryPlanTest, SharesNeverExceedTheBudget) {
  for (const uint64_t budget : BudgetsFrom(least_, directory_)) {
    const MemoryShares& shares = Plan(budget).shares;
    ASSERT_LE(shares.Total(), budget);
    // A share that wrapped around would be larger than the budget, and their sum not.
    for (const uint64_t share :
         {shares.pinned, shares.predictor, shares.kv, shares.slots, shares.staging, shares.scratch, shares.kernel}) {
      ASSERT_LE(share, budget);
    }
    ASSERT_GE(shares.kernel, kRings);
  }
}

TEST_P(MemoryPlanTest, TheLeastBudgetIsTheLeast) {
  EXPECT_EQ(Plan(least_).least_budget_bytes, least_);
  for (const uint64_t budget : {least_ - 1, least_ / 2, uint64_t{0}}) {
    MemoryRequest request = GetParam().request;
    request.budget_bytes = budget;
    const Result<MemoryPlan> refused = PlanMemory(directory_, request);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.status().code(), StatusCode::kOutOfBudget);
    EXPECT_THAT(refused.status().message(), HasSubstr(Concat(" is ", least_, " bytes")));
  }
}

TEST_P(MemoryPlanTest, TheLeastBudgetDoesNotDependOnTheBudget) {
  for (const uint64_t budget : {least_, least_ + 12345, 2 * least_, 10 * least_}) {
    EXPECT_EQ(Plan(budget).least_budget_bytes, least_);
  }
}

// Weights, keys and values are most of it; what they take can be told without the planner.
TEST_P(MemoryPlanTest, TheLeastBudgetHoldsPinnedWeightsAndKeysAndValues) {
  const ModelConfig& config = directory_.config;
  const MemoryRequest& request = GetParam().request;
  uint64_t weights = 0;
  for (const MatrixEntry& matrix : directory_.matrices) weights += matrix.extent.bytes;
  const uint64_t kv =
      uint64_t{2} * 2 * config.layer_count * config.hidden_size * request.context * request.sessions_max;
  EXPECT_GE(Plan(least_).shares.pinned, weights);
  EXPECT_EQ(Plan(least_).shares.kv, kv);
  EXPECT_GE(least_, weights + kv);
}

// Of what is streamed for a token, more budget never leaves more.
TEST_P(MemoryPlanTest, MoreBudgetNeverKeepsLess) {
  uint64_t kept_before = 0;
  for (const uint64_t budget : BudgetsFrom(least_, directory_)) {
    const MemoryPlan plan = Plan(budget);
    const BundleLayout& layout = directory_.ffn[0].layout;
    const uint64_t kept = Sum(plan.slots_per_layer) * layout.PartBytes(plan.slot_part) +
                          Sum(plan.first_pinned) * layout.PartBytes(BundlePart::kFirst);
    EXPECT_GE(kept, kept_before) << "budget " << budget << ", batch " << plan.batch_max;
    kept_before = kept;
  }
}

TEST_P(MemoryPlanTest, EnoughBudgetKeepsEverything) {
  const MemoryPlan plan = Plan(BudgetsFrom(least_, directory_).back());
  const uint32_t bundles = directory_.ffn[0].layout.bundle_count();
  EXPECT_THAT(plan.slots_per_layer, Each(bundles));
  EXPECT_THAT(plan.first_pinned, Each(GetParam().request.rows_known_first ? bundles : 0));
  EXPECT_EQ(plan.batch_max, GetParam().request.batch_max);
  MemoryRequest request = GetParam().request;
  EXPECT_EQ(EstimateTraffic(directory_, request, plan).bytes_per_token_max, 0U);
  EXPECT_EQ(EstimateTraffic(directory_, request, plan).bytes_per_token_expected, 0U);
}

TEST_P(MemoryPlanTest, TheLeastBudgetStreamsEverything) {
  const TrafficEstimate traffic = EstimateTraffic(directory_, GetParam().request, Plan(least_));
  uint64_t all = 0;
  for (const FfnEntry& ffn : directory_.ffn) {
    all += ffn.layout.bundle_count() * ffn.layout.PartBytes(BundlePart::kWhole);
  }
  EXPECT_EQ(traffic.bytes_per_token_max, all);
  EXPECT_LE(traffic.bytes_per_token_expected, traffic.bytes_per_token_max);
  EXPECT_GE(traffic.bytes_per_token_expected, GetParam().request.rows_known_first ? all / 2 : all);
}

TEST_P(MemoryPlanTest, SlotsMaxIsNotExceeded) {
  for (const uint32_t slots_max : {0U, 1U, 7U, 100U, 1000U}) {
    MemoryRequest request = GetParam().request;
    request.slots_max = slots_max;
    request.budget_bytes = BudgetsFrom(least_, directory_).back();
    const MemoryPlan plan = PlanMemory(directory_, request).value();
    EXPECT_LE(Sum(plan.slots_per_layer), slots_max);
    // The same number for each layer, and no more is lost by that.
    EXPECT_GT(Sum(plan.slots_per_layer) + directory_.config.layer_count,
              std::min<uint64_t>(slots_max, directory_.ffn.size() * directory_.ffn[0].layout.bundle_count()));
  }
}

TEST_P(MemoryPlanTest, AWindowOfNoTokensHasNoSlots) {
  MemoryRequest request = GetParam().request;
  request.window_tokens = 0;
  request.budget_bytes = BudgetsFrom(least_, directory_).back();
  const MemoryPlan plan = PlanMemory(directory_, request).value();
  EXPECT_THAT(plan.slots_per_layer, Each(0));
  EXPECT_EQ(plan.slot_arena_bytes, 0U);
  EXPECT_EQ(LeastBudget(directory_, request), least_);
}

TEST_P(MemoryPlanTest, AContextOutOfRangeIsRefusedByName) {
  for (const uint32_t context : {0U, directory_.config.context_max + 1, UINT32_MAX}) {
    MemoryRequest request = GetParam().request;
    request.context = context;
    request.budget_bytes = uint64_t{1} << 50;
    const Result<MemoryPlan> refused = PlanMemory(directory_, request);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(refused.status().message(), HasSubstr(Concat(directory_.config.context_max)));
  }
}

// A rest of tales is 2 KiB, less than the gap that is read across: with it, first rows are not read alone.
TEST(TrafficEstimateTest, BundlesThatAreReadWholeCountWhole) {
  const ModelDirectory directory = DirectoryOf(kTales);
  MemoryRequest request = {.context = 512, .rows_known_first = true};
  request.budget_bytes = LeastBudget(directory, request);
  const MemoryPlan plan = PlanMemory(directory, request).value();
  ASSERT_EQ(plan.first_pinned[0], 0U);
  constexpr uint64_t kFfn = uint64_t{8} * 1024 * 2 * 256 * 2;
  const TrafficEstimate whole = EstimateTraffic(directory, request, plan);
  EXPECT_EQ(whole.bytes_per_token_max, kFfn);
  EXPECT_EQ(whole.bytes_per_token_expected, kFfn);
  request.gap_bytes_max = 0;
  const TrafficEstimate apart = EstimateTraffic(directory, request, plan);
  EXPECT_EQ(apart.bytes_per_token_max, kFfn);
  // Clusters of 4 at 5% active: 18.5% of the rests.
  EXPECT_NEAR(static_cast<double>(apart.bytes_per_token_expected), kFfn * (1.1855 / 2), kFfn * 0.001);
}

TEST(MemoryPlanSizeTest, Opt66BTakesWhatItsDimensionsSay) {
  const ModelDirectory directory = DirectoryOf(kOpt66B);
  MemoryRequest request = {.context = 2048, .rows_known_first = true};
  const uint64_t least = LeastBudget(directory, request);
  // Attention of 64 layers (4 * 9216^2 * 2 bytes each), the embeddings, keys and values of 2048 positions.
  constexpr uint64_t kAttention = uint64_t{64} * 4 * 9216 * 9216 * 2;
  constexpr uint64_t kEmbeddings = uint64_t{50272 + 2050} * 9216 * 2;
  constexpr uint64_t kKv = uint64_t{64} * 2 * 9216 * 2048 * 2;
  EXPECT_GT(least, kAttention + kEmbeddings + kKv);
  EXPECT_LT(least, (kAttention + kEmbeddings + kKv) / 100 * 102);
  request.sessions_max = 1000;
  EXPECT_GT(LeastBudget(directory, request), least + 999 * kKv);
}

}  // namespace
}  // namespace glint
