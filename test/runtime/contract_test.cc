// The arithmetic contract (design, section 2a): the budget and everything else that is not the model, the tokens or the
// predictor changes the speed, never a bit of the answer.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "glint/base/text.h"
#include "runtime/logits_hash.h"
#include "runtime/model.h"
#include "runtime/session.h"
#include "test/runtime/reference_logits.h"
#include "test/support/faulty_engine.h"
#include "test/support/temp_dir.h"
#include "test/support/tiny_model.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GLINT_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#define GLINT_TEST_SANITIZED 1
#endif
#endif

namespace glint {
namespace {

using test::HaveSameBits;
using test::kEverythingBytes;
using test::ReferenceLogits;

// 500 configurations in shards, so that one process has few of them; sanitizers are slow, and get the first 80.
constexpr uint32_t kShards = 10;
#ifdef GLINT_TEST_SANITIZED
constexpr uint32_t kConfigurationsPerShard = 8;
#else
constexpr uint32_t kConfigurationsPerShard = 50;
#endif
constexpr uint32_t kSequences = 2;  // token sequences of each model
constexpr uint32_t kTokens = 100;   // of each sequence: more than one block of 64 positions
constexpr uint32_t kSessionsMax = 3;

struct Shape {
  const char* name;
  WeightType type;
  uint32_t layers;
  uint32_t hidden;
  uint32_t ffn;
  uint32_t heads;
  uint32_t embedding;
  double activity;
  bool vectors = true;
  bool norm_before = true;
  bool final_norm = true;
  bool tied = true;
};

// Neither heads nor rows nor bundles divide evenly; 37, 100 and 257 neurons do not fill the last bundle.
constexpr std::array kShapes = {
    Shape{"sparse", WeightType::kF16, 2, 64, 100, 4, 64, 0.05},
    Shape{"odd heads", WeightType::kQ8_0, 3, 40, 37, 8, 40, 0.3},
    Shape{"many bundles", WeightType::kF16, 2, 136, 257, 8, 136, 0.03},
    Shape{"norm after", WeightType::kQ4_0, 2, 96, 257, 6, 96, 0.1, true, false, false},
    Shape{"projected", WeightType::kQ8_0, 2, 72, 100, 3, 40, 0.2, true, false, false},
    Shape{"no vectors", WeightType::kF16, 2, 104, 37, 13, 104, 0.5, false},
    Shape{"dense", WeightType::kF16, 2, 88, 257, 11, 88, 0.99, true, true, true, false},
    Shape{"projected, no vectors", WeightType::kQ4_0, 3, 120, 100, 5, 56, 0.5, false},
};

ModelConfig ConfigOf(const Shape& shape) {
  ModelConfig config = test::TinyModelConfig();
  config.name = shape.name;
  config.layer_count = shape.layers;
  config.hidden_size = shape.hidden;
  config.ffn_size = shape.ffn;
  config.head_count = shape.heads;
  config.embedding_size = shape.embedding;
  config.vocab_size = 131;
  config.context_max = 112;
  config.norm_before = shape.norm_before;
  config.final_norm = shape.final_norm;
  config.tied_output = shape.tied;
  return config;
}

// A model file and its reference runs, made when they are first asked for.
struct Prepared {
  test::TempDir folder;
  std::string path;
  ModelConfig config;
  std::array<ReferenceLogits, kSequences> references;
};

const Prepared& Prepare(size_t shape_index) {
  static std::array<std::unique_ptr<Prepared>, kShapes.size()> all;
  std::unique_ptr<Prepared>& prepared = all[shape_index];
  if (prepared) return *prepared;
  prepared = std::make_unique<Prepared>();
  const Shape& shape = kShapes[shape_index];
  prepared->path = prepared->folder.Path("tiny.glint");
  prepared->config = ConfigOf(shape);
  const Result<ModelDirectory> written = test::WriteTinyModel(
      prepared->path, prepared->config,
      {.type = shape.type, .seed = 1 + shape_index, .activity = shape.activity, .vectors = shape.vectors});
  EXPECT_TRUE(written.ok()) << written.status().message();
  for (uint32_t i = 0; i < kSequences; ++i) {
    prepared->references[i] =
        test::ComputeReference(prepared->path, test::RandomTokens(i, kTokens, prepared->config.vocab_size)).value();
  }
  return *prepared;
}

std::vector<const Kernels*> KernelsThatRun() {
  std::vector<const Kernels*> kernels = {&PortableKernels()};
  if (Avx2KernelsOrNull() != nullptr) kernels.push_back(Avx2KernelsOrNull());
  if (Avx512KernelsOrNull() != nullptr) kernels.push_back(Avx512KernelsOrNull());
  return kernels;
}

enum class Engine { kPread, kUring, kFaulty };

std::vector<Engine> EnginesThatRun() {
  std::vector<Engine> engines = {Engine::kPread, Engine::kFaulty};
  if (OpenUringEngine(1).ok()) engines.push_back(Engine::kUring);
  return engines;
}

// How a session is fed: everything at once, one by one, or in random pieces.
enum class Feeding { kWhole, kTokenByToken, kRandomSplits };

enum class Budget { kLeast, kLittleMore, kEverything };

struct SessionPlan {
  uint32_t sequence = 0;
  uint32_t token_count = 0;
  Feeding feeding = Feeding::kWhole;
  bool every_logit = true;  // false: those of the last token of each feed alone
  bool rewinds = false;     // now and then feeds other tokens, goes back and replays
};

// Everything that may differ from the reference run. A function of its seed.
struct Configuration {
  uint64_t seed = 0;
  size_t shape = 0;
  Engine engine = Engine::kPread;
  DirectIo direct = DirectIo::kAuto;
  test::FaultyEngineOptions faults;
  const Kernels* kernels = nullptr;
  PredictorKind predictor = PredictorKind::kAll;
  uint32_t threads = 1;
  uint32_t batch_max = 1;
  uint32_t window_tokens = 0;
  std::optional<uint32_t> slots_max;
  std::optional<uint32_t> gap_bytes_max;
  std::optional<uint64_t> staging_bytes_max;  // 0: what one bundle needs
  Budget budget = Budget::kLeast;
  double budget_share = 0;  // of the feed-forward layers' bytes, added to the least budget
  std::vector<SessionPlan> sessions;
};

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}
  // 0 .. max, all as likely. Own arithmetic, so that a seed means the same with every standard library.
  uint64_t UpTo(uint64_t max) { return random_() % (max + 1); }
  bool Chance(uint64_t percent) { return UpTo(99) < percent; }
  double Share() { return static_cast<double>(random_() >> 11) * 0x1p-53; }
  template <typename List>
  auto OneOf(const List& list) {
    return list[UpTo(list.size() - 1)];
  }

 private:
  std::mt19937_64 random_;
};

Configuration DrawConfiguration(uint64_t seed) {
  static const std::vector<const Kernels*> kernels = KernelsThatRun();
  static const std::vector<Engine> engines = EnginesThatRun();
  Draw draw(seed);
  Configuration c;
  c.seed = seed;
  c.shape = draw.UpTo(kShapes.size() - 1);
  c.engine = draw.OneOf(engines);
  c.direct = draw.Chance(70) ? DirectIo::kAuto : DirectIo::kOff;
  c.faults = {.seed = seed, .queue_depth_max = static_cast<uint32_t>(1 + draw.UpTo(15)), .faults = {}};
  if (draw.Chance(60)) {
    c.faults.short_read = 0.2;
    c.faults.again = 0.1;
    c.faults.interrupted = 0.1;
  }
  c.kernels = draw.OneOf(kernels);
  c.predictor = draw.OneOf(std::array{PredictorKind::kAll, PredictorKind::kExact, PredictorKind::kAuto});
  c.threads = static_cast<uint32_t>(1 + draw.UpTo(4));
  c.batch_max = static_cast<uint32_t>(1 + draw.UpTo(63));
  c.window_tokens = draw.OneOf(std::array{0U, 1U, 5U, kWindowUnbounded});
  if (draw.Chance(40)) c.slots_max = static_cast<uint32_t>(draw.UpTo(60));
  if (draw.Chance(60)) c.gap_bytes_max = draw.OneOf(std::array{0U, 0U, 4096U, 1U << 20});
  if (draw.Chance(60)) c.staging_bytes_max = draw.OneOf(std::array<uint64_t, 3>{0, 8192, 20480});
  c.budget = draw.OneOf(std::array{Budget::kLeast, Budget::kLittleMore, Budget::kLittleMore, Budget::kEverything});
  c.budget_share = draw.Share() * 3;
  const uint64_t session_count = draw.Chance(60) ? 1 : 2 + draw.UpTo(kSessionsMax - 2);
  for (uint64_t i = 0; i < session_count; ++i) {
    SessionPlan& session = c.sessions.emplace_back();
    session.sequence = static_cast<uint32_t>(draw.UpTo(kSequences - 1));
    session.token_count = static_cast<uint32_t>(draw.Chance(20) ? 65 + draw.UpTo(kTokens - 65) : 2 + draw.UpTo(38));
    session.feeding = draw.OneOf(std::array{Feeding::kWhole, Feeding::kTokenByToken, Feeding::kRandomSplits});
    session.every_logit = draw.Chance(70);
    session.rewinds = draw.Chance(40);
  }
  return c;
}

constexpr std::array kEngineNames = {"pread", "uring", "faulty"};
constexpr std::array kPredictorNames = {"auto", "exact", "all"};
constexpr std::array kBudgetNames = {"least", "least and a little more", "everything"};
constexpr std::array kFeedingNames = {"whole", "token by token", "in random pieces"};

template <typename Names, typename Value>
const char* NameOf(const Names& names, Value value) {
  return names[static_cast<size_t>(value)];
}

std::string Describe(const Configuration& c) {
  std::string text =
      Concat("configuration ", c.seed, ": ", kShapes[c.shape].name, ", ", NameOf(kEngineNames, c.engine),
             c.direct == DirectIo::kAuto ? " direct" : " buffered", ", ", c.kernels->name, ", predictor ",
             NameOf(kPredictorNames, c.predictor), ", threads ", c.threads, ", batch ", c.batch_max, ", window ",
             c.window_tokens, ", budget ", NameOf(kBudgetNames, c.budget), " (", c.budget_share, ")");
  if (c.slots_max) text += Concat(", slots ", *c.slots_max);
  if (c.gap_bytes_max) text += Concat(", gap ", *c.gap_bytes_max);
  if (c.staging_bytes_max) text += Concat(", staging ", *c.staging_bytes_max);
  for (const SessionPlan& s : c.sessions) {
    text +=
        Concat("; session of ", s.token_count, " tokens of sequence ", s.sequence, ", fed ",
               NameOf(kFeedingNames, s.feeding), s.every_logit ? "" : ", last logits", s.rewinds ? ", rewinds" : "");
  }
  return text;
}

Result<ModelFile> OpenFile(const Configuration& c, const std::string& path) {
  if (c.engine != Engine::kFaulty) {
    const IoEngineKind io = c.engine == Engine::kUring ? IoEngineKind::kUring : IoEngineKind::kPread;
    return ModelFile::Open(path, {.io = io, .direct = c.direct, .log = {}});
  }
  GLINT_ASSIGN_OR_RETURN(FlashFile file, FlashFile::Open(path, c.direct, {}));
  return ModelFile::Create(FlashReader::Create(std::move(file), test::MakeFaultyEngine(c.faults), {}));
}

uint64_t FfnBytes(const ModelDirectory& directory) {
  uint64_t bytes = 0;
  for (const FfnEntry& entry : directory.ffn) bytes += entry.layout.extent_bytes();
  return bytes;
}

// The least budget for `options`, as `plan` would name it.
Result<uint64_t> LeastBudget(const ModelFile& file, ModelOptions options) {
  options.budget_bytes = kEverythingBytes;
  GLINT_ASSIGN_OR_RETURN(const MemoryRequest request,
                         ResolveRequest(file.directory(), options, file.reader().held_bytes()));
  GLINT_ASSIGN_OR_RETURN(const MemoryPlan plan, PlanMemory(file.directory(), request));
  return plan.least_budget_bytes;
}

Result<std::unique_ptr<Model>> OpenModel(const Configuration& c) {
  GLINT_ASSIGN_OR_RETURN(ModelFile file, OpenFile(c, Prepare(c.shape).path));
  ModelOptions options{.sessions_max = static_cast<uint32_t>(c.sessions.size()),
                       .threads = c.threads,
                       .batch_max = c.batch_max,
                       .window_tokens = c.window_tokens,
                       .slots_max = c.slots_max,
                       .gap_bytes_max = c.gap_bytes_max,
                       .staging_bytes_max = c.staging_bytes_max,
                       .predictor = c.predictor,
                       .kernels = c.kernels};
  options.context_max = kTokens;
  options.budget_bytes = kEverythingBytes;
  if (c.budget != Budget::kEverything) {
    GLINT_ASSIGN_OR_RETURN(options.budget_bytes, LeastBudget(file, options));
  }
  if (c.budget == Budget::kLittleMore) {
    options.budget_bytes += static_cast<uint64_t>(c.budget_share * static_cast<double>(FfnBytes(file.directory())));
  }
  return Model::Create(std::move(file), options);
}

// Feeds one session as planned, piece by piece, and compares whatever comes out with the reference.
class Feeder {
 public:
  Feeder(Model* model, const SessionPlan& plan, const ReferenceLogits& reference, uint64_t seed)
      : plan_(plan), reference_(reference), draw_(seed), session_(Session::Open(model).value()) {}

  bool done() const { return session_->position() == plan_.token_count; }

  // One feed. Fails the test and returns false where a bit differs.
  bool Step() {
    const uint32_t position = session_->position();
    if (plan_.rewinds && draw_.Chance(20) && !Detour()) return false;
    const std::span<const TokenId> tokens = std::span(reference_.tokens).subspan(position, NextCount());
    const Session::LogitsVisitor visit = [this](uint32_t at, std::span<const float> logits) {
      return HaveSameBits(reference_.Row(at), logits) ? Status::Ok()
                                                      : Internal(Concat("logits differ after position ", at));
    };
    const Status fed = session_->Feed(tokens, plan_.every_logit ? visit : Session::LogitsVisitor());
    EXPECT_TRUE(fed.ok()) << fed.message();
    if (!fed.ok()) return false;
    const Result<std::span<const float>> logits = session_->Logits();
    const bool same = logits.ok() && HaveSameBits(reference_.Row(session_->position() - 1), *logits);
    EXPECT_TRUE(same) << "logits differ after position " << session_->position() - 1;
    return same && SampleNow();
  }

 private:
  uint32_t NextCount() {
    const uint32_t left = plan_.token_count - session_->position();
    switch (plan_.feeding) {
      case Feeding::kWhole: return left;
      case Feeding::kTokenByToken: return 1;
      case Feeding::kRandomSplits: return static_cast<uint32_t>(1 + draw_.UpTo(left - 1));
    }
    return left;
  }

  // Other tokens from some earlier position on, so that stale keys, values or slots would show, and back; what was
  // there is fed again.
  bool Detour() {
    const uint32_t position = session_->position();
    const auto back_to = static_cast<uint32_t>(draw_.UpTo(position));
    const auto count = static_cast<uint32_t>(1 + draw_.UpTo(std::min(kTokens - back_to, 12U) - 1));
    std::vector<TokenId> others;
    for (uint32_t i = 0; i < count; ++i) {
      others.push_back(static_cast<TokenId>(draw_.UpTo(reference_.vocab_size - 1)));
    }
    const std::span<const TokenId> replayed = std::span(reference_.tokens).subspan(back_to, position - back_to);
    Status status = session_->Rewind(back_to);
    if (status.ok()) status = session_->Feed(others);
    if (status.ok()) status = session_->Rewind(back_to);
    if (status.ok()) status = session_->Feed(replayed);
    EXPECT_TRUE(status.ok()) << status.message();
    return status.ok() && session_->position() == position;
  }

  bool SampleNow() {
    if (draw_.Chance(50)) return true;
    const bool sampled = session_->Sample().ok();
    wanted_hash_.Add(reference_.Row(session_->position() - 1));
    EXPECT_TRUE(sampled);
    EXPECT_EQ(session_->logits_hash(), wanted_hash_.Digest());
    return sampled && session_->logits_hash() == wanted_hash_.Digest();
  }

  const SessionPlan& plan_;
  const ReferenceLogits& reference_;
  Draw draw_;
  std::unique_ptr<Session> session_;
  LogitsHash wanted_hash_;
};

// Whether one layer's bundles, all wanted and none kept, are more than staging holds: then they come in waves.
bool RunsInWaves(const Model& model) {
  const MemoryPlan& plan = model.plan();
  return std::any_of(model.directory().ffn.begin(), model.directory().ffn.end(),
                     [&](const FfnEntry& entry) { return entry.layout.extent_bytes() > plan.staging_bytes; });
}

// Sessions take random turns.
void ExpectReferenceBits(const Configuration& c, Model* model) {
  std::vector<std::unique_ptr<Feeder>> feeders;
  for (const SessionPlan& plan : c.sessions) {
    feeders.push_back(std::make_unique<Feeder>(model, plan, Prepare(c.shape).references[plan.sequence],
                                               c.seed * kSessionsMax + feeders.size()));
  }
  Draw draw(c.seed);
  while (!feeders.empty()) {
    const size_t turn = draw.UpTo(feeders.size() - 1);
    ASSERT_TRUE(feeders[turn]->Step());
    if (feeders[turn]->done()) feeders.erase(feeders.begin() + static_cast<ptrdiff_t>(turn));
  }
}

class ContractShardTest : public ::testing::TestWithParam<uint32_t> {};

// A failing configuration says its seed, which is all it depends on, and its shard, which the filter runs alone.
TEST_P(ContractShardTest, RandomConfigurationsHaveEqualBits) {
  uint32_t in_waves = 0;
  uint64_t hits = 0;
  for (uint32_t i = 0; i < kConfigurationsPerShard; ++i) {
    const Configuration c = DrawConfiguration(GetParam() + i * kShards);
    SCOPED_TRACE(Concat(Describe(c), "; alone: --gtest_filter='*EqualBits/", GetParam(), "'"));
    Result<std::unique_ptr<Model>> model = OpenModel(c);
    ASSERT_TRUE(model.ok()) << model.status().message();
    ASSERT_NO_FATAL_FAILURE(ExpectReferenceBits(c, model->get()));
    ASSERT_FALSE(HasFailure());
    in_waves += RunsInWaves(**model) ? 1 : 0;
    hits += (*model)->Stats().cache.cache_hits;
  }
  EXPECT_GT(in_waves, 0U);
  EXPECT_GT(hits, 0U);
}

INSTANTIATE_TEST_SUITE_P(Shards, ContractShardTest, ::testing::Range(0U, kShards));

// The property is worth what its draws are: each choice must come up often.
TEST(ContractTest, EveryChoiceComesUpOften) {
  std::map<std::string, uint32_t> seen;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    const Configuration c = DrawConfiguration(seed);
    ++seen[Concat("shape ", kShapes[c.shape].name)];
    ++seen[Concat("engine ", NameOf(kEngineNames, c.engine))];
    ++seen[Concat("kernels ", c.kernels->name)];
    ++seen[Concat("predictor ", NameOf(kPredictorNames, c.predictor))];
    ++seen[Concat("threads ", c.threads)];
    ++seen[Concat("window ", c.window_tokens)];
    ++seen[Concat("budget ", NameOf(kBudgetNames, c.budget))];
    ++seen[Concat("sessions ", c.sessions.size())];
    ++seen[c.gap_bytes_max == 0U ? "gaps off" : "gaps on"];
    ++seen[c.staging_bytes_max ? "little staging" : "staging as planned"];
    ++seen[c.batch_max == 1 ? "batch 1" : c.batch_max < 32 ? "batch 2 to 31" : "batch 32 to 64"];
    for (const SessionPlan& s : c.sessions) {
      ++seen[Concat("fed ", NameOf(kFeedingNames, s.feeding))];
      ++seen[s.rewinds ? "rewinds" : "goes straight on"];
      ++seen[s.token_count > 64 ? "two blocks of positions" : "one block of positions"];
    }
  }
  const size_t choices =
      kShapes.size() + EnginesThatRun().size() + KernelsThatRun().size() + 3 + 5 + 4 + 3 + 3 + 2 + 2 + 3 + 3 + 2 + 2;
  EXPECT_EQ(seen.size(), choices);
  for (const auto& [choice, count] : seen) EXPECT_GE(count, choice == "batch 1" ? 2U : 30U) << choice;
}

const ReferenceLogits& ReferenceOf(size_t shape) { return Prepare(shape).references[0]; }

// Feeds a whole sequence at once and compares every position.
void ExpectWholePromptHasReferenceBits(Model* model, const ReferenceLogits& reference) {
  const std::unique_ptr<Session> session = Session::Open(model).value();
  uint32_t positions = 0;
  const Status fed = session->Feed(reference.tokens, [&](uint32_t at, std::span<const float> logits) {
    ++positions;
    EXPECT_TRUE(HaveSameBits(reference.Row(at), logits)) << "position " << at;
    return Status::Ok();
  });
  ASSERT_TRUE(fed.ok()) << fed.message();
  EXPECT_EQ(positions, reference.tokens.size());
}

constexpr size_t kManyBundles = 2;
constexpr size_t kDense = 6;

TEST(ContractTest, WaveSmallerThanTheActiveSet) {
  for (const size_t shape : {kManyBundles, kDense}) {
    for (const PredictorKind predictor : {PredictorKind::kAll, PredictorKind::kExact}) {
      Configuration c;
      c.shape = shape;
      c.kernels = &BestKernels();
      c.predictor = predictor;
      c.threads = 2;
      c.batch_max = 64;
      c.gap_bytes_max = 0;
      c.staging_bytes_max = 0;
      c.sessions.resize(1);
      const std::unique_ptr<Model> model = OpenModel(c).value();
      ASSERT_NO_FATAL_FAILURE(ExpectWholePromptHasReferenceBits(model.get(), ReferenceOf(shape)));
      // In the mean a step and layer missed more bytes than staging holds, so waves followed each other. (The least
      // budget pins no row, so `exact` streams the first rows too.)
      const ModelStats stats = model->Stats();
      const uint64_t steps = DivideUp(kTokens, model->plan().batch_max);
      const uint64_t missed_per_layer = stats.stream.missed_bundle_bytes / (steps * model->config().layer_count);
      EXPECT_GT(missed_per_layer, 2 * model->plan().staging_bytes);
      EXPECT_GT(stats.cache.cache_misses, 0U);
    }
  }
}

// The same where slots hold a part of the active set, so that hits and misses share waves.
TEST(ContractTest, SlotsFewerThanTheActiveSet) {
  for (const PredictorKind predictor : {PredictorKind::kAll, PredictorKind::kExact}) {
    Configuration c;
    c.shape = kDense;
    c.kernels = &BestKernels();
    c.predictor = predictor;
    c.threads = 2;
    c.batch_max = 1;
    c.window_tokens = 5;
    c.slots_max = 10;
    c.budget = Budget::kEverything;
    c.sessions.resize(1);
    const std::unique_ptr<Model> model = OpenModel(c).value();
    ASSERT_EQ(model->plan().slots_per_layer.at(0), 5U);
    ASSERT_NO_FATAL_FAILURE(ExpectWholePromptHasReferenceBits(model.get(), ReferenceOf(kDense)));
    EXPECT_GT(model->directory().ffn.at(0).layout.bundle_count(), 5U);
    const ModelStats stats = model->Stats();
    EXPECT_GT(stats.cache.cache_hits, 0U);
    EXPECT_GT(stats.cache.cache_misses, stats.cache.cache_hits);
  }
}

TEST(ContractTest, BatchThatDiffersWithTheBudget) {
  std::vector<uint32_t> batches;
  for (const double share : {0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 100.0}) {
    Configuration c;
    c.shape = kManyBundles;
    c.kernels = &BestKernels();
    c.batch_max = 64;
    c.window_tokens = 5;
    c.budget = Budget::kLittleMore;
    c.budget_share = share;
    c.sessions.resize(1);
    const std::unique_ptr<Model> model = OpenModel(c).value();
    if (batches.empty() || batches.back() != model->plan().batch_max) batches.push_back(model->plan().batch_max);
    ASSERT_NO_FATAL_FAILURE(ExpectWholePromptHasReferenceBits(model.get(), ReferenceOf(kManyBundles)));
  }
  EXPECT_GE(batches.size(), 4U);
  EXPECT_TRUE(std::is_sorted(batches.begin(), batches.end()));
  EXPECT_EQ(batches.front(), 1U);
  EXPECT_EQ(batches.back(), 64U);
}

TEST(ContractTest, SessionsOnTheirOwnThreadsDoNotDisturbEachOther) {
  Configuration c;
  c.shape = kManyBundles;
  c.kernels = &BestKernels();
  c.predictor = PredictorKind::kExact;
  c.threads = 2;
  c.batch_max = 7;
  c.window_tokens = 5;
  c.budget = Budget::kLittleMore;
  c.budget_share = 0.7;
  c.sessions.resize(3);
  const std::unique_ptr<Model> model = OpenModel(c).value();
  std::atomic<uint32_t> same = 0;
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      const ReferenceLogits& reference = Prepare(kManyBundles).references[i % kSequences];
      const std::unique_ptr<Session> session = Session::Open(model.get()).value();
      const Status fed = session->Feed(reference.tokens, [&](uint32_t at, std::span<const float> logits) {
        same += HaveSameBits(reference.Row(at), logits) ? 1 : 0;
        return Status::Ok();
      });
      EXPECT_TRUE(fed.ok()) << fed.message();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, 3 * kTokens);
}

}  // namespace
}  // namespace glint
