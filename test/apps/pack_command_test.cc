// `glint pack` as a person would run it: what it says, and what it never writes over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "test/apps/program.h"
#include "test/support/temp_dir.h"

namespace glint {
namespace {

using test::Finished;
using test::RunProgram;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

const std::string kTalesOpt = std::string(GLINT_TEST_DATA) + "/models/tales-opt";

class PackCommandTest : public testing::Test {
 protected:
  test::TempDir folder_;
};

TEST_F(PackCommandTest, ReportIsJsonWhateverBytesTheFilesNameHas) {
  const Finished packed = RunProgram({"pack", kTalesOpt, "-o", folder_.Path("x\xFF.glint"), "--json"});
  EXPECT_EQ(packed.exit_code, 0) << packed.err;
  EXPECT_EQ(packed.Json()["file_bytes"], fs::file_size(folder_.Path("x\xFF.glint")));
}

TEST_F(PackCommandTest, AFileOfTheCheckpointIsNotWrittenOver) {
  fs::copy(kTalesOpt, folder_.Path("source"));
  for (const char* name : {"source/model.safetensors", "source/config.json"}) {
    const std::string before = test::ReadAll(folder_.Path(name));
    const Finished packed = RunProgram({"pack", folder_.Path("source"), "-o", folder_.Path(name)});
    EXPECT_EQ(packed.exit_code, 1);
    EXPECT_THAT(packed.err, HasSubstr("no model file"));
    EXPECT_TRUE(test::ReadAll(folder_.Path(name)) == before);
  }
}

TEST_F(PackCommandTest, ModelsThatAreNotOptAreRefusedBeforeTheirTokenizerIsRead) {
  std::ofstream(folder_.Path("config.json")) << R"({"model_type":"llama"})";
  std::ofstream(folder_.Path("tokenizer.json")) << R"({"normalizer":{"type":"NFC"}})";
  const Finished packed = RunProgram({"pack", folder_.path(), "-o", folder_.Path("x.glint")});
  EXPECT_EQ(packed.exit_code, 1);
  EXPECT_THAT(packed.err, HasSubstr("'llama'"));
  EXPECT_THAT(packed.err, Not(HasSubstr("normalizer")));
}

}  // namespace
}  // namespace glint
