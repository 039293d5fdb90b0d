// Every kind of OPT against transformers: random checkpoints of test/models/opt-variants, made by make_variants.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "glint/base/text.h"
#include "glint/base/units.h"
#include "runtime/model.h"
#include "runtime/session.h"
#include "storage/checkpoint/safetensors.h"
#include "storage/format/checksum.h"
#include "storage/format/model_directory.h"
#include "test/runtime/packed_model.h"
#include "test/support/npy.h"
#include "test/support/temp_dir.h"

namespace glint {
namespace {

// In units of the logits' standard deviation. What is wrong must show by ten times as much.
constexpr double kErrorMax = 1e-3;
constexpr double kFaultMin = 10 * kErrorMax;

const std::vector<std::string> kVariants = {
    "bf16_projected", "f32_post_norm", "hub_names",           "long",    "no_bias",         "no_final_norm",
    "no_norm_affine", "plain",         "post_norm_projected", "sharded", "small_residuals", "untied"};

std::string FolderOf(const std::string& variant) { return test::CheckpointFolder("opt-variants/" + variant); }

struct Reference {
  explicit Reference(const std::string& variant)
      : json(test::ReadJson(FolderOf(variant) + "/reference.json")),
        ids(json.at("ids")),
        logits(test::ReadNpyFloat32(FolderOf(variant) + "/logits.npy").value()) {}

  // The largest error where make_variants.py's own decoder has that one thing wrong.
  double Wrong(const std::string& what) const { return json.at("wrong").at(what); }

  nlohmann::json json;
  std::vector<TokenId> ids;
  test::NpyArray<float> logits;  // [ids][vocab]
};

// Feeds the reference's ids to the model file and returns the largest difference to its logits over all positions, in
// units of their standard deviation; infinity where the model does not run or a logit is not a number.
double ErrorOf(const std::string& path, const Reference& reference, PredictorKind predictor) {
  const Result<std::unique_ptr<Model>> model =
      Model::Open(path, {.budget_bytes = 64 << 20, .threads = 2, .predictor = predictor});
  EXPECT_TRUE(model.ok()) << model.status().message();
  if (!model.ok()) return INFINITY;
  const uint64_t vocab = (*model)->config().vocab_size;
  EXPECT_EQ(reference.logits.shape, (std::vector<uint64_t>{reference.ids.size(), vocab}));
  const std::unique_ptr<Session> session = Session::Open(model->get()).value();
  double largest = 0;
  const Status fed = session->Feed(reference.ids, [&](uint32_t position, std::span<const float> logits) {
    for (uint64_t i = 0; i < vocab; ++i) {
      const double difference = std::abs(double{logits[i]} - reference.logits.values[position * vocab + i]);
      largest = std::isfinite(difference) ? std::max(largest, difference) : INFINITY;
    }
    return Status::Ok();
  });
  EXPECT_TRUE(fed.ok()) << fed.message();
  return largest / reference.json.at("logits_std").get<double>();
}

std::string Pack(const std::string& folder, const test::TempDir& into) {
  std::string path = into.Path("variant.glint");
  const auto packed = test::PackCheckpoint(folder, path, WeightType::kF16);
  EXPECT_TRUE(packed.ok()) << packed.status().message();
  return path;
}

class VariantTest : public ::testing::TestWithParam<std::string> {};

std::string VariantName(const ::testing::TestParamInfo<std::string>& info) { return info.param; }

INSTANTIATE_TEST_SUITE_P(Opt, VariantTest, ::testing::ValuesIn(kVariants), VariantName);

TEST_P(VariantTest, LogitsAreThoseOfTransformers) {
  const test::TempDir folder;
  const Reference reference(GetParam());
  const std::string path = Pack(FolderOf(GetParam()), folder);
  EXPECT_LE(ErrorOf(path, reference, PredictorKind::kExact), kErrorMax);
  EXPECT_LE(ErrorOf(path, reference, PredictorKind::kAll), kErrorMax);
}

TEST(VariantsTest, EveryFolderIsTested) {
  std::set<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator(test::CheckpointFolder("opt-variants"))) {
    if (std::filesystem::exists(entry.path() / "reference.json")) folders.insert(entry.path().filename());
  }
  EXPECT_EQ(folders, std::set<std::string>(kVariants.begin(), kVariants.end()));
}

// --- What is wrong is caught: the same comparison, with one thing changed on purpose. ---

// Writes the model file anew with another config; the weights stay.
void ChangeConfig(const std::string& path, const std::function<void(ModelConfig*)>& change) {
  std::string bytes = test::ReadWhole(path);
  const Header header = ParseHeader(std::as_bytes(std::span(bytes)), bytes.size(), path).value();
  ModelDirectory directory =
      ParseDirectory(std::string_view(bytes).substr(header.directory.offset, header.directory.bytes), header, path)
          .value();
  change(&directory.config);
  const std::string json = SerializeDirectory(directory);
  Header changed = header;
  changed.directory.bytes = json.size();
  changed.directory_checksum = Checksum(std::as_bytes(std::span(json)));
  bytes.resize(header.directory.offset);
  bytes += json;
  bytes.resize(AlignUp(bytes.size(), kExtentAlignment));
  changed.file_bytes = bytes.size();
  const auto head = SerializeHeader(changed);
  std::memcpy(bytes.data(), head.data(), head.size());
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

double ErrorWithConfig(const std::string& variant, const Reference& reference,
                       const std::function<void(ModelConfig*)>& change) {
  const test::TempDir folder;
  const std::string path = Pack(FolderOf(variant), folder);
  ChangeConfig(path, change);
  return ErrorOf(path, reference, PredictorKind::kExact);
}

// A copy of a checkpoint in float16, in one file, in which the rows of the named linears stand one head further.
void CopyWithRotatedHeads(const std::string& from, const std::string& to, const std::vector<std::string>& linears) {
  for (const char* name : {"/config.json", "/model.safetensors"}) std::filesystem::copy(from + name, to + name);
  const uint64_t heads = test::ReadJson(from + "/config.json").at("num_attention_heads");
  std::string bytes = test::ReadWhole(from + "/model.safetensors");
  const Safetensors checkpoint = Safetensors::Open(from).value();
  size_t rotated = 0;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const auto is_named = [&name = name](const std::string& linear) { return name.find(linear) != name.npos; };
    if (std::none_of(linears.begin(), linears.end(), is_named)) continue;
    const auto begin = bytes.begin() + static_cast<ptrdiff_t>(tensor.extent.offset);
    const auto end = begin + static_cast<ptrdiff_t>(tensor.extent.bytes);
    std::rotate(begin, end - static_cast<ptrdiff_t>(tensor.extent.bytes / heads), end);
    ++rotated;
  }
  ASSERT_GT(rotated, 0U);
  std::ofstream(to + "/model.safetensors", std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

double ErrorWithRotatedHeads(const std::string& variant, const Reference& reference,
                             const std::vector<std::string>& linears) {
  const test::TempDir checkpoint;
  const test::TempDir folder;
  CopyWithRotatedHeads(FolderOf(variant), checkpoint.path(), linears);
  return ErrorOf(Pack(checkpoint.path(), folder), reference, PredictorKind::kExact);
}

// Both decoders are wrong in the same way, so their errors agree too.
void ExpectFault(double error, double wanted) {
  EXPECT_GE(error, kFaultMin);
  EXPECT_NEAR(error, wanted, 2 * kErrorMax);
}

TEST(WrongModelTest, NothingIsWrongWithAConfigThatIsWrittenAnew) {
  const Reference reference("small_residuals");
  EXPECT_LE(ErrorWithConfig("small_residuals", reference, [](ModelConfig*) {}), kErrorMax);
}

TEST(WrongModelTest, ANormEpsilonTooLargeIsCaught) {
  const Reference reference("small_residuals");
  const auto change = [](ModelConfig* config) { config->norm_epsilon = 1e-3F; };
  ExpectFault(ErrorWithConfig("small_residuals", reference, change), reference.Wrong("norm_epsilon_1e-3"));
}

TEST(WrongModelTest, ANormEpsilonTooSmallIsCaught) {
  const Reference reference("small_residuals");
  const auto change = [](ModelConfig* config) { config->norm_epsilon = 1e-12F; };
  ExpectFault(ErrorWithConfig("small_residuals", reference, change), reference.Wrong("norm_epsilon_1e-12"));
}

// The table of positions keeps its rows: what the offset has less, the context has more.
TEST(WrongModelTest, AMissingPositionOffsetIsCaught) {
  const Reference reference("plain");
  const auto change = [](ModelConfig* config) {
    config->context_max += config->position_offset;
    config->position_offset = 0;
  };
  ExpectFault(ErrorWithConfig("plain", reference, change), reference.Wrong("position_offset_0"));
}

TEST(WrongModelTest, APositionOffsetOfOneIsCaught) {
  const Reference reference("plain");
  const auto change = [](ModelConfig* config) {
    config->context_max += config->position_offset - 1;
    config->position_offset = 1;
  };
  ExpectFault(ErrorWithConfig("plain", reference, change), reference.Wrong("position_offset_1"));
}

TEST(WrongModelTest, HeadsInTheWrongOrderAreCaught) {
  const Reference reference("plain");
  ExpectFault(ErrorWithRotatedHeads("plain", reference, {"q_proj", "k_proj", "v_proj"}),
              reference.Wrong("heads_rotated"));
}

TEST(WrongModelTest, QueriesOfOtherHeadsAreCaught) {
  const Reference reference("plain");
  EXPECT_GE(ErrorWithRotatedHeads("plain", reference, {"q_proj"}), kFaultMin);
}

}  // namespace
}  // namespace glint
