// Faults through the whole model: a step that fails leaves the session where its last finished batch left it, and no
// damage is ever answered with other logits (design, invariants 4, 5 and 8).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "glint/base/check.h"
#include "glint/base/text.h"
#include "runtime/session.h"
#include "test/runtime/reference_logits.h"
#include "test/support/faulty_engine.h"
#include "test/support/temp_dir.h"
#include "test/support/tiny_model.h"
#include "tokenizer/tokenizer.h"

namespace glint {
namespace {

using test::HaveSameBits;
using test::kEverythingBytes;
using test::ReferenceLogits;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint32_t kTokens = 12;
constexpr uint32_t kBatch = 4;

// Sees each read as it starts and may have it end with an errno.
class WatchedEngine final : public ReadEngine {
 public:
  // Returns the errno that the read ends with; 0 lets it be.
  using Watch = std::function<int(const RawRead&)>;
  WatchedEngine(std::unique_ptr<ReadEngine> engine, const Watch* watch) : engine_(std::move(engine)), watch_(watch) {}

  std::string_view name() const override { return "watched"; }
  uint32_t queue_depth_max() const override { return engine_->queue_depth_max(); }
  uint64_t held_bytes() const override { return engine_->held_bytes(); }
  Status Start(std::span<const RawRead> reads) override {
    for (const RawRead& read : reads) errors_[read.tag] = *watch_ ? (*watch_)(read) : 0;
    return engine_->Start(reads);
  }
  Result<uint32_t> Reap(std::span<RawResult> out, bool wait) override {
    GLINT_ASSIGN_OR_RETURN(const uint32_t count, engine_->Reap(out, wait));
    for (RawResult& result : out.first(count)) {
      if (const int error = errors_[result.tag]; error != 0) result.result = -error;
    }
    return count;
  }

 private:
  std::unique_ptr<ReadEngine> engine_;
  const Watch* watch_;
  std::map<uint32_t, int> errors_;  // by tag
};

class FaultsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ModelConfig config = test::TinyModelConfig();
    config.hidden_size = 136;
    config.embedding_size = 136;
    config.head_count = 8;
    config.ffn_size = 257;
    directory_ = test::WriteTinyModel(path_, config, {.seed = 5, .activity = 0.02}).value();
    reference_ = test::ComputeReference(path_, test::RandomTokens(3, kTokens, config.vocab_size)).value();
  }

  // Batches of kBatch; few slots, so that each batch reads from each layer.
  ModelOptions Options(PredictorKind predictor) const {
    ModelOptions options{.budget_bytes = kEverythingBytes, .threads = 1, .batch_max = kBatch};
    options.predictor = predictor;
    options.window_tokens = 2;
    options.slots_max = 8;
    return options;
  }

  Result<std::unique_ptr<Model>> Open(const ModelOptions& options, test::FaultyEngineOptions faults = {},
                                      DirectIo direct = DirectIo::kOff) {
    GLINT_ASSIGN_OR_RETURN(FlashFile file, FlashFile::Open(path_, direct, {}));
    direct_ = file.direct();
    auto engine = std::make_unique<WatchedEngine>(test::MakeFaultyEngine(std::move(faults)), &watch_);
    const LogSink log = [this](std::string_view line) { log_.emplace_back(line); };
    GLINT_ASSIGN_OR_RETURN(ModelFile model_file,
                           ModelFile::Create(FlashReader::Create(std::move(file), std::move(engine), log)));
    return Model::Create(std::move(model_file), options);
  }

  // Feeds what is left of the reference's tokens. Every logit that comes out must be the reference's.
  Status FeedRest(Session* session, const std::function<void(uint32_t position)>& after = {}) const {
    return session->Feed(std::span(reference_.tokens).subspan(session->position()),
                         [&](uint32_t position, std::span<const float> logits) {
                           EXPECT_TRUE(HaveSameBits(reference_.Row(position), logits)) << "position " << position;
                           if (after) after(position);
                           return Status::Ok();
                         });
  }

  // Flips all bits of a byte on disk; again: puts it right.
  void FlipByte(uint64_t offset) const {
    const int fd = open(path_.c_str(), O_RDWR | O_CLOEXEC);
    GLINT_CHECK(fd >= 0);
    std::byte byte{};
    GLINT_CHECK(pread(fd, &byte, 1, static_cast<off_t>(offset)) == 1);
    byte ^= std::byte{0xFF};
    GLINT_CHECK(pwrite(fd, &byte, 1, static_cast<off_t>(offset)) == 1 && close(fd) == 0);
  }

  // Where a part of a bundle lies in the file.
  Extent InFile(uint32_t layer, uint32_t bundle, BundlePart part) const {
    const FfnEntry& entry = directory_.ffn[layer];
    Extent extent = entry.layout.ExtentOf(BundleIndex(bundle), part);
    extent.offset += entry.extent.offset;
    return extent;
  }

  bool IsOfLayer(const RawRead& read, uint32_t layer) const {
    const Extent& extent = directory_.ffn[layer].extent;
    return read.offset >= extent.offset && read.offset < extent.end();
  }

  test::TempDir folder_;
  std::string path_ = folder_.Path("tiny.glint");
  ModelDirectory directory_;
  ReferenceLogits reference_;
  std::vector<std::string> log_;
  WatchedEngine::Watch watch_;  // the engines look here for each read
  bool direct_ = false;         // whether the file opened last reads past the page cache
};

TEST_F(FaultsTest, FailedReadLeavesTheSessionAfterItsLastFinishedBatch) {
  for (const PredictorKind predictor : {PredictorKind::kAll, PredictorKind::kExact}) {
    const std::unique_ptr<Model> model = Open(Options(predictor)).value();
    const std::unique_ptr<Session> session = Session::Open(model.get()).value();
    // The device fails in the second layer, in the middle of the second batch.
    const Status failed = FeedRest(session.get(), [&](uint32_t position) {
      if (position + 1 == kBatch) watch_ = [this](const RawRead& read) { return IsOfLayer(read, 1) ? EIO : 0; };
    });
    EXPECT_EQ(failed.code(), StatusCode::kIoError);
    EXPECT_THAT(failed.message(), HasSubstr(path_));
    EXPECT_THAT(failed.message(), HasSubstr("offset"));
    EXPECT_THAT(failed.message(), HasSubstr("Input/output error"));
    EXPECT_EQ(session->position(), kBatch);
    const Result<std::span<const float>> logits = session->Logits();
    ASSERT_TRUE(logits.ok());
    EXPECT_TRUE(HaveSameBits(reference_.Row(kBatch - 1), *logits));

    watch_ = {};
    const Status fed = FeedRest(session.get());
    EXPECT_TRUE(fed.ok()) << fed.message();
    EXPECT_EQ(session->position(), kTokens);
  }
}

TEST_F(FaultsTest, AnyReadMayFailOnce) {
  for (const PredictorKind predictor : {PredictorKind::kAll, PredictorKind::kExact}) {
    uint64_t failed_count = 0;
    for (uint64_t failing = 0;; ++failing) {
      watch_ = {};
      const std::unique_ptr<Model> model =
          Open(Options(predictor), {.seed = failing, .queue_depth_max = 3, .faults = {}}).value();
      const std::unique_ptr<Session> session = Session::Open(model.get()).value();
      uint64_t started = 0;
      watch_ = [&](const RawRead&) { return started++ == failing ? EIO : 0; };
      Status status = FeedRest(session.get());
      if (status.ok()) break;  // there are no more reads
      ++failed_count;
      EXPECT_EQ(status.code(), StatusCode::kIoError) << status.message();
      EXPECT_EQ(session->position() % kBatch, 0U);
      status = FeedRest(session.get());
      ASSERT_TRUE(status.ok()) << status.message();
      ASSERT_EQ(session->position(), kTokens);
      ASSERT_FALSE(HasFailure()) << "read " << failing;
    }
    EXPECT_GE(failed_count, kTokens / kBatch * directory_.config.layer_count);
  }
}

TEST_F(FaultsTest, EngineThatBreaksIsAnErrorEachTime) {
  uint64_t started = 0;
  watch_ = [&](const RawRead&) {
    ++started;
    return 0;
  };
  ASSERT_TRUE(Open(Options(PredictorKind::kAll)).ok());
  const std::unique_ptr<Model> model =
      Open(Options(PredictorKind::kAll), {.faults = {}, .breaks_after_reads = started + 1}).value();
  const std::unique_ptr<Session> session = Session::Open(model.get()).value();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(FeedRest(session.get()).code(), StatusCode::kIoError);
    EXPECT_EQ(session->position(), 0U);
    EXPECT_FALSE(session->Logits().ok());
  }
}

TEST_F(FaultsTest, CancellationBetweenLayersLeavesTheSessionUsable) {
  const std::unique_ptr<Model> model = Open(Options(PredictorKind::kAll)).value();
  const std::unique_ptr<Session> session = Session::Open(model.get()).value();
  uint32_t reads_of_next_layer = 0;
  const Status cancelled = FeedRest(session.get(), [&](uint32_t position) {
    if (position + 1 != kBatch) return;
    watch_ = [&](const RawRead& read) {
      if (IsOfLayer(read, 0)) session->Cancel();
      reads_of_next_layer += IsOfLayer(read, 1) ? 1 : 0;
      return 0;
    };
  });
  EXPECT_EQ(cancelled.code(), StatusCode::kCancelled);
  EXPECT_EQ(session->position(), kBatch);
  EXPECT_EQ(reads_of_next_layer, 0U);

  watch_ = {};
  const Status fed = FeedRest(session.get());
  EXPECT_TRUE(fed.ok()) << fed.message();
  EXPECT_EQ(session->position(), kTokens);
}

TEST_F(FaultsTest, GranuleCorruptedOnceIsLookedAtAgain) {
  for (const PredictorKind predictor : {PredictorKind::kAll, PredictorKind::kExact}) {
    for (const DirectIo direct : {DirectIo::kAuto, DirectIo::kOff}) {
      log_.clear();
      ModelOptions options = Options(predictor);
      const uint64_t offset = InFile(1, 3, BundlePart::kFirst).offset + 17;
      const std::unique_ptr<Model> model =
          Open(options, {.faults = {{.kind = test::Fault::Kind::kCorrupt, .offset = offset, .times = 1}}}, direct)
              .value();
      const std::unique_ptr<Session> session = Session::Open(model.get()).value();
      const Status fed = FeedRest(session.get());
      EXPECT_TRUE(fed.ok()) << fed.message();
      EXPECT_THAT(log_, ElementsAre(HasSubstr("held their checksum only when read again through the page cache")));
    }
  }
}

// A device whose direct path always lies is left alone after the first lie.
TEST_F(FaultsTest, DirectReadsThatLieAreGivenUp) {
  const uint64_t offset = InFile(0, 2, BundlePart::kRest).offset;
  const test::Fault lie = {.kind = test::Fault::Kind::kCorrupt, .offset = offset, .direct_only = true};
  const std::unique_ptr<Model> model = Open(Options(PredictorKind::kAll), {.faults = {lie}}, DirectIo::kAuto).value();
  if (!direct_) GTEST_SKIP() << "this file system has no direct I/O";
  const std::unique_ptr<Session> session = Session::Open(model.get()).value();
  const Status fed = FeedRest(session.get());
  EXPECT_TRUE(fed.ok()) << fed.message();
  EXPECT_THAT(log_, ElementsAre(HasSubstr("it is read that way from now on")));
}

TEST_F(FaultsTest, GranuleCorruptedOnDiskIsANamedError) {
  for (const PredictorKind predictor : {PredictorKind::kAll, PredictorKind::kExact}) {
    // Neither rows nor rests are kept: each batch meets the damage, if it wants the bundle at all.
    ModelOptions options = Options(predictor);
    options.window_tokens = 0;
    options.gap_bytes_max = 0;
    const BundleLayout& layout = directory_.ffn[1].layout;
    uint32_t refused = 0;
    for (uint32_t bundle = 0; bundle < layout.bundle_count(); ++bundle) {
      const Extent granule = InFile(1, bundle, BundlePart::kRest);
      const std::unique_ptr<Model> model = Open(options).value();
      const std::unique_ptr<Session> session = Session::Open(model.get()).value();
      FlipByte(granule.offset + granule.bytes / 2);
      const Status damaged = FeedRest(session.get());
      const Status again = FeedRest(session.get());
      FlipByte(granule.offset + granule.bytes / 2);
      if (damaged.ok()) continue;  // no token wants the bundle, and the logits were right
      ++refused;
      for (const Status& status : {damaged, again}) {
        EXPECT_EQ(status.code(), StatusCode::kCorruptData);
        for (const std::string& part : {path_, Concat("offset ", granule.offset), std::string("wanted"),
                                        std::string("got"), Concat("bundle ", bundle)}) {
          EXPECT_THAT(status.message(), HasSubstr(part));
        }
      }
      // Put right, the same session goes on as if nothing had been.
      const Status healed = FeedRest(session.get());
      ASSERT_TRUE(healed.ok()) << healed.message();
      ASSERT_EQ(session->position(), kTokens);
    }
    if (predictor == PredictorKind::kAll) {
      EXPECT_EQ(refused, layout.bundle_count());
    } else {
      EXPECT_GT(refused, 0U);
    }
  }
}

enum class Place { kMatrix, kFfn, kPadding };

// What of the file holds `offset`; everything but header, directory and tables.
Place PlaceOf(const ModelDirectory& directory, uint64_t offset) {
  const auto holds = [&](const auto& entry) { return entry.extent.offset <= offset && offset < entry.extent.end(); };
  if (std::any_of(directory.matrices.begin(), directory.matrices.end(), holds)) return Place::kMatrix;
  if (std::any_of(directory.ffn.begin(), directory.ffn.end(), holds)) return Place::kFfn;
  return Place::kPadding;
}

// Header, directory, tables and tokenizer, by the way that `run` opens a model; each is named by where it lies.
TEST_F(FaultsTest, EveryByteFlippedOfWhatIsNotWeightsIsRefusedAtOpen) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr uint64_t kStep = 17;
#else
  constexpr uint64_t kStep = 1;
#endif
  ModelConfig config = test::TinyModelConfig();
  config.layer_count = 1;
  const std::vector<std::byte> tokenizer = BuildByteTokenizer();
  directory_ = test::WriteTinyModel(path_, config, {.tokenizer = tokenizer}).value();
  std::vector<Extent> extents = {{0, kHeaderBytes}, ModelFile::Open(path_, {}).value().directory_extent()};
  for (const Section& table : directory_.tables) extents.push_back(table.extent);
  extents.push_back(directory_.tokenizer.extent);
  for (const Extent& extent : extents) {
    for (uint64_t offset = extent.offset; offset < extent.end(); offset += kStep) {
      FlipByte(offset);
      const Status status = Open(Options(PredictorKind::kAll)).status();
      FlipByte(offset);
      ASSERT_FALSE(status.ok()) << offset;
      ASSERT_TRUE(status.message().find(path_) != std::string::npos && status.message().find('\n') == std::string::npos)
          << offset << ": " << status.message();
    }
  }
  EXPECT_TRUE(Open(Options(PredictorKind::kAll)).ok());
}

TEST_F(FaultsTest, ByteFlippedAnywhereInTheWeightsIsRefusedOrHarmless) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr uint32_t kFlips = 200;
#else
  constexpr uint32_t kFlips = 1000;
#endif
  uint64_t begin = directory_.file_bytes;
  uint64_t end = 0;
  std::vector<Extent> weights;
  for (const MatrixEntry& matrix : directory_.matrices) weights.push_back(matrix.extent);
  for (const FfnEntry& entry : directory_.ffn) weights.push_back(entry.extent);
  uint64_t weight_bytes = 0;
  for (const Extent& extent : weights) {
    weight_bytes += extent.bytes;
    begin = std::min(begin, extent.offset);
    end = std::max(end, extent.end());
  }
  std::mt19937_64 random(11);
  // One in ten anywhere from the first weight to the last (in padding, mostly), the others in the weights.
  const auto draw_offset = [&] {
    if (random() % 10 == 0) return begin + random() % (end - begin);
    uint64_t at = random() % weight_bytes;
    for (const Extent& extent : weights) {
      if (at < extent.bytes) return extent.offset + at;
      at -= extent.bytes;
    }
    return begin;
  };
  std::map<Place, uint32_t> refused;
  std::map<Place, uint32_t> harmless;
  for (uint32_t i = 0; i < kFlips; ++i) {
    const uint64_t offset = draw_offset();
    const Place place = PlaceOf(directory_, offset);
    ModelOptions options = Options(i % 2 == 0 ? PredictorKind::kAll : PredictorKind::kExact);
    options.gap_bytes_max = 0;
    if (i % 4 >= 2) options.slots_max.reset();
    FlipByte(offset);
    Status status;
    {
      const Result<std::unique_ptr<Model>> model = Open(options);
      status = model.status();
      if (status.ok()) {
        const std::unique_ptr<Session> session = Session::Open(model->get()).value();
        status = FeedRest(session.get());
      }
    }
    FlipByte(offset);
    ASSERT_FALSE(HasFailure()) << "another answer after a flip at offset " << offset;
    ++(status.ok() ? harmless : refused)[place];
    if (status.ok()) {
      // What is loaded at open, and what `all` reads, cannot be damaged unseen.
      EXPECT_NE(place, Place::kMatrix) << offset;
      EXPECT_TRUE(place == Place::kPadding || options.predictor == PredictorKind::kExact) << offset;
      continue;
    }
    EXPECT_NE(place, Place::kPadding) << offset;
    EXPECT_EQ(status.code(), StatusCode::kCorruptData) << status.message();
    EXPECT_THAT(status.message(), HasSubstr(path_));
    EXPECT_THAT(status.message(), HasSubstr("offset"));
    EXPECT_THAT(status.message(), HasSubstr("wanted"));
  }
  EXPECT_GT(refused[Place::kMatrix], 0U);
  EXPECT_GT(refused[Place::kFfn], 0U);
  EXPECT_GT(harmless[Place::kFfn], 0U);  // `exact` does not read everything
  EXPECT_GT(harmless[Place::kPadding], 0U);
}

}  // namespace
}  // namespace glint
