#include "storage/format/model_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>

#include "storage/format/model_file.h"
#include "test/support/temp_dir.h"
#include "test/support/tiny_model.h"

namespace glint {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void WriteFile(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

size_t FilesIn(const std::string& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

RowSource Constant(float value) {
  return [value](uint32_t, std::span<float> row) {
    std::fill(row.begin(), row.end(), value);
    return Status::Ok();
  };
}

class ModelWriterTest : public testing::Test {
 protected:
  ModelWriter MakeWriter() {
    auto writer = ModelWriter::Create(path_, config_, WeightType::kF16);
    GLINT_CHECK(writer.ok());
    return std::move(writer).value();
  }

  test::TempDir folder_;
  std::string path_ = folder_.Path("model.glint");
  ModelConfig config_ = test::TinyModelConfig();
};

TEST_F(ModelWriterTest, TheSameCallsGiveTheSameFile) {
  ASSERT_TRUE(test::WriteTinyModel(path_, config_, {}).ok());
  const std::string first = ReadFile(path_);
  ASSERT_TRUE(test::WriteTinyModel(path_, config_, {}).ok());
  EXPECT_EQ(ReadFile(path_), first);
  ASSERT_TRUE(test::WriteTinyModel(path_, config_, {.seed = 2}).ok());
  EXPECT_NE(ReadFile(path_), first);
  EXPECT_EQ(first.size() % kExtentAlignment, 0U);
  EXPECT_EQ(FilesIn(folder_.path()), 1U);
}

TEST_F(ModelWriterTest, AbandonedWriterLeavesTheOldFile) {
  ASSERT_TRUE(test::WriteTinyModel(path_, config_, {}).ok());
  const std::string old = ReadFile(path_);
  {
    ModelWriter writer = MakeWriter();
    ASSERT_TRUE(writer.WriteMatrix("token_embd.weight", WeightType::kF16, 260, 64, Constant(1)).ok());
    EXPECT_EQ(FilesIn(folder_.path()), 2U);
    EXPECT_TRUE(ReadFile(path_) == old);
  }
  EXPECT_TRUE(ReadFile(path_) == old);
  EXPECT_EQ(FilesIn(folder_.path()), 1U);
}

TEST_F(ModelWriterTest, ProcessThatDiesLeavesTheOldFileAndTheNextOneClearsUp) {
  ASSERT_TRUE(test::WriteTinyModel(path_, config_, {}).ok());
  const std::string old = ReadFile(path_);
  const pid_t child = fork();
  if (child == 0) {
    ModelWriter writer = MakeWriter();
    (void)writer.WriteMatrix("token_embd.weight", WeightType::kF16, 260, 64, Constant(1));
    raise(SIGKILL);
  }
  int how = 0;
  ASSERT_EQ(waitpid(child, &how, 0), child);
  ASSERT_TRUE(WIFSIGNALED(how));
  EXPECT_TRUE(ReadFile(path_) == old);
  EXPECT_EQ(FilesIn(folder_.path()), 2U);
  ASSERT_TRUE(test::WriteTinyModel(path_, config_, {.seed = 2}).ok());
  EXPECT_FALSE(ReadFile(path_) == old);
  EXPECT_EQ(FilesIn(folder_.path()), 1U);
  EXPECT_TRUE(VerifyModelFile(path_, {}, {}).ok());
}

TEST_F(ModelWriterTest, SecondProcessAtTheSameTargetIsRefused) {
  ModelWriter writer = MakeWriter();
  const pid_t child = fork();
  if (child == 0) _exit(ModelWriter::Create(path_, config_, WeightType::kF16).ok() ? 0 : 3);
  int how = 0;
  ASSERT_EQ(waitpid(child, &how, 0), child);
  EXPECT_TRUE(WIFEXITED(how) && WEXITSTATUS(how) == 3);
}

TEST_F(ModelWriterTest, OnlyModelFilesAndEmptyOnesAreReplaced) {
  for (const std::string& precious : {std::string("{}"), std::string(10000, 'x')}) {
    WriteFile(path_, precious);
    const Status refused = ModelWriter::Create(path_, config_, WeightType::kF16).status();
    EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(refused.message(), HasSubstr("no model file"));
    EXPECT_EQ(ReadFile(path_), precious);
    EXPECT_EQ(FilesIn(folder_.path()), 1U);
  }
  WriteFile(path_, "");
  EXPECT_TRUE(test::WriteTinyModel(path_, config_, {}).ok());
  WriteFile(path_, ReadFile(path_).substr(0, 5000));
  EXPECT_TRUE(test::WriteTinyModel(path_, config_, {}).ok());
}

TEST_F(ModelWriterTest, SecondWriterToTheSameTargetIsRefused) {
  ModelWriter writer = MakeWriter();
  const auto second = ModelWriter::Create(path_, config_, WeightType::kF16);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.status().message(), HasSubstr("another writer"));
}

TEST_F(ModelWriterTest, TargetsThatCannotBeAreRefusedAtOnce) {
  const auto error_of = [&](const std::string& path) {
    return ModelWriter::Create(path, config_, WeightType::kF16).status().message();
  };
  EXPECT_THAT(error_of(folder_.path()), HasSubstr("got a folder"));
  EXPECT_THAT(error_of("/dev/null"), HasSubstr("got a device"));
  EXPECT_THAT(error_of(""), HasSubstr("wanted a file's name"));
  EXPECT_THAT(error_of(folder_.Path("none/model.glint")), HasSubstr("No such file"));
  EXPECT_THAT(error_of("/proc/model.glint"), HasSubstr("cannot write"));
  WriteFile(path_, "old");
  EXPECT_THAT(error_of(path_ + "/model.glint"), HasSubstr("Not a directory"));
}

TEST_F(ModelWriterTest, InvalidConfigIsRefusedBeforeAFileExists) {
  config_.head_count = 3;
  EXPECT_FALSE(ModelWriter::Create(path_, config_, WeightType::kF16).ok());
  EXPECT_EQ(FilesIn(folder_.path()), 0U);
}

TEST_F(ModelWriterTest, FinishNamesTheFirstMissingTensor) {
  ModelWriter writer = MakeWriter();
  ASSERT_TRUE(writer.WriteMatrix("token_embd.weight", WeightType::kF16, 260, 64, Constant(1)).ok());
  const auto finished = writer.Finish();
  ASSERT_FALSE(finished.ok());
  EXPECT_THAT(finished.status().message(), HasSubstr("'position_embd.weight' is missing"));
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(ModelWriterTest, FinishNamesAMissingFfn) {
  ModelWriter writer = MakeWriter();
  for (const TensorSpec& spec : TensorSpecs(config_)) {
    if (spec.is_vector) continue;
    ASSERT_TRUE(writer.WriteMatrix(spec.name, WeightType::kQ8_0, spec.rows, spec.columns, Constant(0)).ok());
  }
  const NeuronSource zeros = [](NeuronId, std::span<float>, std::span<float>, std::span<float>) {
    return Status::Ok();
  };
  ASSERT_TRUE(writer.WriteFfn(LayerIndex(0), zeros).ok());
  EXPECT_THAT(writer.Finish().status().message(), HasSubstr("'blk.1.ffn_up.weight' is missing"));
}

TEST_F(ModelWriterTest, WhatTheConfigDoesNotAskForIsRefused) {
  const auto error_of = [&](auto write) {
    ModelWriter writer = MakeWriter();
    return Status(write(writer)).message();
  };
  const std::vector<float> values(64, 1.0F);
  EXPECT_THAT(error_of([&](ModelWriter& w) { return w.WriteVector("blk.2.attn_q.bias", values); }),
              HasSubstr("asks for no vector of that name"));
  EXPECT_THAT(error_of([&](ModelWriter& w) { return w.WriteVector("token_embd.weight", values); }),
              HasSubstr("asks for no vector of that name"));
  EXPECT_THAT(error_of([&](ModelWriter& w) { return w.WriteVector("blk.0.ffn_up.bias", values); }),
              HasSubstr("wanted 96 elements, got 64"));
  EXPECT_THAT(error_of([&](ModelWriter& w) {
                return w.WriteMatrix("blk.0.attn_q.weight", WeightType::kF16, 64, 63, Constant(0));
              }),
              HasSubstr("wanted 64 x 64, got 64 x 63"));
  EXPECT_THAT(error_of([&](ModelWriter& w) {
                (void)w.WriteVector("blk.0.attn_q.bias", values);
                return w.WriteVector("blk.0.attn_q.bias", values);
              }),
              HasSubstr("written twice"));
  EXPECT_THAT(error_of([&](ModelWriter& w) { return w.WriteFfn(LayerIndex(2), {}); }), HasSubstr("a layer below 2"));
  EXPECT_THAT(error_of([&](ModelWriter& w) { return w.WriteTokenizer({}); }), HasSubstr("tokenizer section"));
}

TEST_F(ModelWriterTest, NotFiniteValuesAreRefusedByTensorAndElement) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  {
    std::vector<float> values(64, 1.0F);
    values[5] = -kInfinity;
    EXPECT_THAT(MakeWriter().WriteVector("blk.1.attn_v.bias", values).message(),
                HasSubstr("'blk.1.attn_v.bias': element 5"));
  }
  const RowSource rows = [](uint32_t row_index, std::span<float> row) {
    std::fill(row.begin(), row.end(), 1.0F);
    if (row_index == 3) row[7] = kNan;
    return Status::Ok();
  };
  EXPECT_THAT(MakeWriter().WriteMatrix("blk.0.attn_k.weight", WeightType::kQ4_0, 64, 64, rows).message(),
              HasSubstr("'blk.0.attn_k.weight': row 3: element 7"));
  const NeuronSource neurons = [](NeuronId neuron, std::span<float>, std::span<float> up, std::span<float> down) {
    std::fill(up.begin(), up.end(), 1.0F);
    std::fill(down.begin(), down.end(), neuron.value == 9 ? kInfinity : 1.0F);
    return Status::Ok();
  };
  EXPECT_THAT(MakeWriter().WriteFfn(LayerIndex(1), neurons).message(),
              HasSubstr("'blk.1.ffn_down.weight': neuron 9: element 0"));
}

TEST_F(ModelWriterTest, ErrorOfASourceIsPassedOnAndStays) {
  ModelWriter writer = MakeWriter();
  const RowSource rows = [](uint32_t, std::span<float>) { return IoError("the source failed"); };
  EXPECT_EQ(writer.WriteMatrix("token_embd.weight", WeightType::kF16, 260, 64, rows).message(), "the source failed");
  EXPECT_EQ(writer.WriteVector("blk.0.attn_q.bias", std::vector<float>(64)).message(), "the source failed");
  EXPECT_EQ(writer.Finish().status().message(), "the source failed");
}

// A limit on the file's size stands for a full disk: both make a write fail in the middle.
TEST_F(ModelWriterTest, FullDiskIsOneErrorAndNothingStays) {
  config_.vocab_size = 40000;  // 5 MB, so that buffers are written before the end
  struct rlimit before {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  for (const uint64_t limit_bytes : {uint64_t{3000000}, uint64_t{0}}) {
    small.rlim_cur = limit_bytes;
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    const auto written = test::WriteTinyModel(path_, config_, {});
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    ASSERT_FALSE(written.ok());
    EXPECT_EQ(written.status().code(), StatusCode::kIoError);
    EXPECT_THAT(written.status().message(), HasSubstr("model.glint"));
    EXPECT_EQ(FilesIn(folder_.path()), 0U);
  }
  signal(SIGXFSZ, handler);
}

TEST_F(ModelWriterTest, TheResultOfFinishIsWhatIsRead) {
  auto written = test::WriteTinyModel(path_, config_, {});
  ASSERT_TRUE(written.ok()) << written.status().message();
  auto file = ModelFile::Open(path_, {});
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->directory(), *written);
}

}  // namespace
}  // namespace glint
