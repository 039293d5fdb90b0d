// What streaming costs on the included model, counted in bytes; and that a step allocates nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/model.h"
#include "runtime/session.h"
#include "test/runtime/packed_model.h"
#include "test/support/npy.h"
#include "test/support/temp_dir.h"

namespace {
std::atomic<uint64_t> allocation_count = 0;
}  // namespace

// Not inlined: the compiler would take malloc and free for mismatched with what is left of new and delete.
[[gnu::noinline]] void* operator new(size_t bytes) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1); memory != nullptr) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t /*bytes*/) noexcept { std::free(memory); }

namespace glint {
namespace {

constexpr uint64_t kEverythingBytes = 256 << 20;

struct Traffic {
  uint64_t missed_bundle_bytes = 0;
  uint64_t flash_read_bytes = 0;
  uint64_t cache_hits = 0;
};

Traffic TrafficOf(const Model& model) {
  const ModelStats stats = model.Stats();
  return {stats.stream.missed_bundle_bytes, stats.reader.flash_read_bytes, stats.cache.cache_hits};
}

class AccountingTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir();
    path_ = folder_->Path("tales.glint");
    directory_ = test::PackCheckpoint(test::CheckpointFolder("tales-opt"), path_, WeightType::kF16).value();
    const nlohmann::json goldens = test::ReadJson(test::CheckpointFolder("tales-opt/goldens") + "/goldens.json");
    for (const nlohmann::json& prompt : goldens.at("prompts")) {
      // A prompt and what follows it, so that activity is a text's.
      std::vector<TokenId>& text = texts_.emplace_back(prompt.at("input_ids").get<std::vector<TokenId>>());
      if (prompt_count_ == 0) prompt_count_ = text.size();
      prompts_.insert(prompts_.end(), text.begin(), text.end());
      for (const TokenId id : prompt.at("greedy_ids").get<std::vector<TokenId>>()) text.push_back(id);
    }
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
    texts_.clear();
    prompts_.clear();
    prompt_count_ = 0;
  }

  // Reads with direct I/O where that asks for granules alone; a device that wants larger blocks cannot read less.
  static Result<std::unique_ptr<Model>> Open(const ModelOptions& options) {
    GLINT_ASSIGN_OR_RETURN(ModelFile file, ModelFile::Open(path_, {.io = options.io, .log = {}}));
    if (file.reader().alignment() > kGranuleAlignment) {
      GLINT_ASSIGN_OR_RETURN(file, ModelFile::Open(path_, {.io = options.io, .direct = DirectIo::kOff, .log = {}}));
    }
    return Model::Create(std::move(file), options);
  }

  static ModelOptions Decoding(PredictorKind predictor) {
    ModelOptions options{.budget_bytes = kEverythingBytes, .context_max = 128, .threads = 1, .batch_max = 1};
    options.predictor = predictor;
    return options;
  }

  // What the tokens cost, one by one, less what opening read.
  static Traffic Decode(Model* model, std::span<const TokenId> tokens) {
    const Traffic opened = TrafficOf(*model);
    const std::unique_ptr<Session> session = Session::Open(model).value();
    for (const TokenId token : tokens) {
      const Status fed = session->Feed({&token, 1});
      EXPECT_TRUE(fed.ok()) << fed.message();
    }
    const Traffic traffic = TrafficOf(*model);
    return {traffic.missed_bundle_bytes - opened.missed_bundle_bytes,
            traffic.flash_read_bytes - opened.flash_read_bytes, traffic.cache_hits - opened.cache_hits};
  }

  static test::TempDir* folder_;
  static std::string path_;
  static ModelDirectory directory_;
  static std::vector<std::vector<TokenId>> texts_;
  static std::vector<TokenId> prompts_;  // all prompts, one after the other
  static size_t prompt_count_;           // tokens of the first prompt, without what follows it
};

test::TempDir* AccountingTest::folder_ = nullptr;
std::string AccountingTest::path_;
ModelDirectory AccountingTest::directory_;
std::vector<std::vector<TokenId>> AccountingTest::texts_;
std::vector<TokenId> AccountingTest::prompts_;
size_t AccountingTest::prompt_count_ = 0;

// The rests of all bundles that hold an active neuron, summed over layers and the first prompt's tokens, according to
// the reference's activations.
uint64_t ActiveRestBytes(const ModelDirectory& directory) {
  const test::NpyArray<float> activations =
      test::ReadNpyFloat32(test::CheckpointFolder("tales-opt/goldens") + "/golden_trace_ffn_act.npy").value();
  const uint64_t token_count = activations.shape.at(1);
  const uint64_t neuron_count = activations.shape.at(2);
  uint64_t bytes = 0;
  for (uint32_t layer = 0; layer < activations.shape.at(0); ++layer) {
    const BundleLayout& layout = directory.ffn.at(layer).layout;
    for (uint64_t token = 0; token < token_count; ++token) {
      for (uint32_t bundle = 0; bundle < layout.bundle_count(); ++bundle) {
        const uint64_t first = (layer * token_count + token) * neuron_count + bundle * layout.neurons_per_bundle();
        const auto neurons = std::span(activations.values).subspan(first, layout.NeuronsIn(BundleIndex(bundle)));
        const bool active = std::any_of(neurons.begin(), neurons.end(), [](float h) { return h > 0; });
        if (active) bytes += layout.ExtentOf(BundleIndex(bundle), BundlePart::kRest).bytes;
      }
    }
  }
  return bytes;
}

TEST_F(AccountingTest, ExactWithoutACacheReadsWhatIsActiveAndLittleMore) {
  ModelOptions options = Decoding(PredictorKind::kExact);
  options.window_tokens = 0;
  options.gap_bytes_max = 0;
  const std::unique_ptr<Model> model = Open(options).value();
  for (const FfnEntry& entry : model->directory().ffn) ASSERT_EQ(entry.layout.neurons_per_bundle(), 4U);
  const std::span<const TokenId> prompt = std::span(texts_.at(0)).first(prompt_count_);
  const auto active = static_cast<double>(ActiveRestBytes(directory_));
  const Traffic traffic = Decode(model.get(), prompt);
  std::cout << "active rests " << active << " bytes, missed " << traffic.missed_bundle_bytes << ", read "
            << traffic.flash_read_bytes << "\n";
  EXPECT_LE(static_cast<double>(traffic.missed_bundle_bytes), 1.05 * active);
  EXPECT_GE(static_cast<double>(traffic.missed_bundle_bytes), 0.95 * active);  // or the count would be wrong
  EXPECT_LE(static_cast<double>(traffic.flash_read_bytes), 1.3 * active);
  EXPECT_EQ(traffic.cache_hits, 0U);
}

TEST_F(AccountingTest, ExactWithRowsNotPinnedReadsWhatIsActiveAndWhatIsNotPinned) {
  ModelOptions options = Decoding(PredictorKind::kExact);
  options.window_tokens = 0;
  options.gap_bytes_max = 0;
  options.budget_bytes = Open(options).value()->plan().least_budget_bytes + 2000000;
  const std::unique_ptr<Model> model = Open(options).value();
  uint64_t not_pinned_per_token = 0;
  uint64_t pinned = 0;
  for (uint32_t layer = 0; layer < directory_.config.layer_count; ++layer) {
    const BundleLayout& layout = directory_.ffn[layer].layout;
    pinned += model->plan().first_pinned[layer];
    for (uint32_t b = model->plan().first_pinned[layer]; b < layout.bundle_count(); ++b) {
      not_pinned_per_token += layout.ExtentOf(BundleIndex(b), BundlePart::kFirst).bytes;
    }
  }
  ASSERT_GT(pinned, 0U);
  ASSERT_GT(not_pinned_per_token, 0U);
  const std::span<const TokenId> prompt = std::span(texts_.at(0)).first(prompt_count_);
  const double wanted =
      static_cast<double>(ActiveRestBytes(directory_)) + static_cast<double>(not_pinned_per_token * prompt.size());
  const Traffic traffic = Decode(model.get(), prompt);
  std::cout << "active rests and first rows not pinned " << wanted << " bytes, missed " << traffic.missed_bundle_bytes
            << ", read " << traffic.flash_read_bytes << "\n";
  EXPECT_LE(static_cast<double>(traffic.missed_bundle_bytes), 1.05 * wanted);
  EXPECT_LE(static_cast<double>(traffic.flash_read_bytes), 1.3 * wanted);
}

TEST_F(AccountingTest, WindowSavesReads) {
  std::vector<Traffic> by_window;
  for (const uint32_t window : {0U, 1U, 5U, kWindowUnbounded}) {
    ModelOptions options = Decoding(PredictorKind::kExact);
    options.window_tokens = window;
    options.gap_bytes_max = 0;
    const std::unique_ptr<Model> model = Open(options).value();
    const Traffic traffic = Decode(model.get(), texts_.at(0));
    std::cout << "window " << window << ": missed " << traffic.missed_bundle_bytes << " bytes, read "
              << traffic.flash_read_bytes << ", hits " << traffic.cache_hits << "\n";
    if (!by_window.empty()) {
      EXPECT_LT(traffic.missed_bundle_bytes, by_window.back().missed_bundle_bytes);
      EXPECT_LT(traffic.flash_read_bytes, by_window.back().flash_read_bytes);
    }
    by_window.push_back(traffic);
  }
}

// The least budget with which each of `choices` opens.
uint64_t LeastBudgetFor(const std::vector<ModelOptions>& choices, const std::string& path) {
  uint64_t least = 0;
  for (const ModelOptions& options : choices) {
    least = std::max(least, Model::Open(path, options).value()->plan().least_budget_bytes);
  }
  return least;
}

// `window` is either 0 or keeps all that slots have room for; a shorter one drops bundles that `all` would keep.
TEST_F(AccountingTest, ExactNeverMissesOrReadsMoreBytesThanAll) {
  constexpr uint64_t kMB = 1000000;
  const std::span<const TokenId> tokens = std::span(prompts_).first(24);
  const uint64_t least = LeastBudgetFor({Decoding(PredictorKind::kAll), Decoding(PredictorKind::kExact)}, path_);
  for (const uint32_t window : {0U, kWindowUnbounded}) {
    for (const uint64_t more :
         {0 * kMB, 2 * kMB, 4 * kMB, 6 * kMB, 8 * kMB, 10 * kMB, 10800000UL, 11300000UL, 20 * kMB}) {
      if (window == 0 && more % (4 * kMB) != 0) continue;  // without slots little changes
      const auto decode = [&](PredictorKind predictor, std::optional<uint32_t> gap) {
        ModelOptions options = Decoding(predictor);
        options.budget_bytes = least + more;
        options.window_tokens = window;
        options.gap_bytes_max = gap;
        return Decode(Open(options).value().get(), tokens);
      };
      const Traffic all = decode(PredictorKind::kAll, std::nullopt);
      for (const std::optional<uint32_t> gap : {std::optional<uint32_t>(0), std::optional<uint32_t>()}) {
        const Traffic exact = decode(PredictorKind::kExact, gap);
        std::cout << "window " << window << ", " << (gap ? "gaps off" : "gaps on") << ", least budget + " << more
                  << ": exact missed " << exact.missed_bundle_bytes << ", read " << exact.flash_read_bytes
                  << "; all missed " << all.missed_bundle_bytes << ", read " << all.flash_read_bytes << "\n";
        EXPECT_LE(exact.missed_bundle_bytes, all.missed_bundle_bytes);
        EXPECT_LE(exact.flash_read_bytes, all.flash_read_bytes);
      }
    }
  }
}

TEST_F(AccountingTest, StepsAllocateNothing) {
  const std::vector<IoEngineKind> engines = OpenUringEngine(1).ok()
                                                ? std::vector{IoEngineKind::kPread, IoEngineKind::kUring}
                                                : std::vector{IoEngineKind::kPread};
  for (const PredictorKind predictor : {PredictorKind::kAll, PredictorKind::kExact}) {
    for (const IoEngineKind io : engines) {
      ModelOptions options{.budget_bytes = 0, .context_max = 128, .threads = 2, .batch_max = 16};
      options.predictor = predictor;
      options.io = io;
      options.budget_bytes = LeastBudgetFor({Decoding(predictor)}, path_) + 8000000;
      const std::unique_ptr<Model> model = Model::Open(path_, options).value();
      ASSERT_GT(model->plan().batch_max, 1U);
      const std::unique_ptr<Session> session = Session::Open(model.get()).value();
      const std::span<const TokenId> tokens = std::span(prompts_).first(24);
      // Batches of two sizes, then single tokens with all that a step of generating does.
      bool ok = true;
      const auto work = [&] {
        ok = ok && session->Feed(tokens.first(20)).ok();
        for (const TokenId& token : tokens.subspan(20)) {
          ok = ok && session->Feed({&token, 1}).ok() && session->Sample().ok();
        }
        ok = ok && session->Rewind(0).ok();
      };
      work();
      const uint64_t missed_before = model->Stats().stream.missed_bundle_bytes;
      const uint64_t before = allocation_count.load();
      work();
      const uint64_t after = allocation_count.load();
      ASSERT_TRUE(ok);
      EXPECT_EQ(after - before, 0U);
      EXPECT_GT(model->Stats().stream.missed_bundle_bytes, missed_before);  // it did stream
      const uint64_t counted = allocation_count.load();
      ::operator delete(::operator new(64));
      EXPECT_EQ(allocation_count.load() - counted, 1U);  // and the counter counts
    }
  }
}

}  // namespace
}  // namespace glint
