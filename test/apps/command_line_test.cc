// Help, and what the program says of command lines and files that cannot be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "glint/base/text.h"
#include "test/apps/program.h"
#include "test/support/tiny_model.h"
#include "tokenizer/tokenizer.h"

namespace glint {
namespace {

using test::ExpectRefused;
using test::Finished;
using test::RunProgram;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kTalesOpt = std::string(GLINT_TEST_DATA) + "/models/tales-opt";

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
  return names;
}

struct Help {
  std::string command;
  std::vector<std::string> options;
};

void PrintTo(const Help& help, std::ostream* out) { *out << help.command; }

class HelpTest : public ::testing::TestWithParam<Help> {};

const std::vector<std::string> kModelOptions = {"--model", "--budget",  "--context", "--predictor", "--window",
                                                "--io",    "--threads", "--batch",   "--slots",     "--gaps"};

Help WithModelOptions(std::string command, std::vector<std::string> options) {
  options.insert(options.end(), kModelOptions.begin(), kModelOptions.end());
  return {std::move(command), std::move(options)};
}

INSTANTIATE_TEST_SUITE_P(
    Commands, HelpTest,
    ::testing::Values(Help{"pack", {"CHECKPOINT", "--output", "--type", "--json"}}, Help{"inspect", {"--json"}},
                      Help{"verify", {"--json"}}, WithModelOptions("plan", {"--json"}),
                      WithModelOptions("run", {"--prompt", "--file", "--token-ids", "--predict", "--temp", "--top-k",
                                               "--top-p", "--min-p", "--seed", "--special", "--ignore-eos", "--config",
                                               "--json"}),
                      WithModelOptions("eval", {"--file", "--windows-max", "--json"}),
                      Help{"synth", {"--output", "--layers", "--hidden", "--ffn", "--activity", "--type", "--json"}}),
    [](const auto& parameter) { return parameter.param.command; });

TEST_P(HelpTest, NamesEveryOption) {
  const Finished help = RunProgram({GetParam().command, "--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.err, IsEmpty());
  for (const std::string& option : GetParam().options) EXPECT_THAT(help.out, HasSubstr(option));
  EXPECT_THAT(RunProgram({"--help"}).out, HasSubstr(GetParam().command));
}

class CommandLineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto written = test::WriteTinyModel(model_, test::TinyModelConfig(), {.tokenizer = BuildByteTokenizer()});
    ASSERT_TRUE(written.ok()) << written.status().message();
  }

  Finished Run(std::vector<std::string> more, const std::string& model = "") const {
    more.insert(more.begin(), {"run", "-m", model.empty() ? model_ : model, "--budget", "16MB"});
    return RunProgram(more);
  }

  const test::TempDir folder_;
  const std::string model_ = folder_.Path("tiny.glint");
};

TEST_F(CommandLineTest, ANamelessOrUnknownCommandIsRefused) {
  ExpectRefused(RunProgram({}), {"subcommand"});
  ExpectRefused(RunProgram({"frobnicate"}), {});
  ExpectRefused(RunProgram({"run", "--frobnicate"}), {});
}

TEST_F(CommandLineTest, ValuesThatCannotBeAreRefusedByName) {
  ExpectRefused(Run({"-p", "a", "--budget", "many"}), {"many"});
  ExpectRefused(Run({"-p", "a", "--budget", "-5"}), {"-5"});
  ExpectRefused(Run({"-p", "a", "--budget", "99999999999GiB"}), {"99999999999GiB"});
  ExpectRefused(Run({"-p", "a", "--predictor", "guess"}), {"predictor", "guess"});
  ExpectRefused(Run({"-p", "a", "--io", "smoke"}), {"io", "smoke"});
  ExpectRefused(Run({"-p", "a", "--gaps", "maybe"}), {"gaps", "maybe"});
  ExpectRefused(Run({"-p", "a", "-t", "0"}), {"threads"});
  ExpectRefused(Run({"-p", "a", "-t", "1000"}), {"1000 threads"});
  ExpectRefused(Run({"-p", "a", "-c", "0"}), {"context"});
  ExpectRefused(Run({"-p", "a", "-c", "65"}), {"context of 65", "64"});
  ExpectRefused(Run({"-p", "a", "-n", "some"}), {"predict", "some"});
  ExpectRefused(Run({"-p", "a", "--temp", "-1"}), {"temperature"});
  ExpectRefused(Run({"-p", "a", "--temp", "nan"}), {"temperature"});
  ExpectRefused(Run({"-p", "a", "--top-p", "2"}), {"top_p"});
  ExpectRefused(Run({"--token-ids", "5,x"}), {"token-ids"});
  ExpectRefused(Run({"--token-ids", "5,260"}), {"260"});
  ExpectRefused(Run({"--token-ids", "5,-1"}), {"-1"});
  ExpectRefused(Run({"-p", "a", "--token-ids", "5"}), {"prompt"});
  ExpectRefused(Run({}), {"prompt"});
  ExpectRefused(RunProgram({"pack", kTalesOpt, "-o", folder_.Path("x"), "--type", "q3"}), {"type", "q3"});
}

TEST_F(CommandLineTest, AMissingModelIsRefusedByName) {
  const std::string missing = folder_.Path("missing.glint");
  for (const char* command : {"run", "plan", "eval"}) {
    std::vector<std::string> arguments = {command, "-m", missing};
    if (command == std::string("run")) arguments.insert(arguments.end(), {"-p", "a"});
    if (command == std::string("eval")) arguments.insert(arguments.end(), {"-f", kTalesOpt + "/text/valid.txt"});
    ExpectRefused(RunProgram(arguments), {missing, "No such file"});
  }
  ExpectRefused(RunProgram({"inspect", missing}), {missing});
  ExpectRefused(RunProgram({"verify", missing}), {missing});
  EXPECT_THAT(FilesIn(folder_.path()), testing::ElementsAre("tiny.glint"));
}

TEST_F(CommandLineTest, ALargeConfigIsRefusedByName) {
  const std::string config = folder_.Path("large.toml");
  std::ofstream(config) << std::string(65537, '#');
  ExpectRefused(Run({"-p", "a", "--config", config}), {config, "65536"});
}

TEST_F(CommandLineTest, OutputThatCannotBeWrittenIsAnError) {
  test::ProgramOptions to_a_full_disk;
  to_a_full_disk.launcher = {"sh", "-c", "exec \"$@\" > /dev/full", "sh"};
  for (const char* command : {"run", "inspect"}) {
    std::vector<std::string> arguments = {command, model_, "--json"};
    if (command == std::string("run")) arguments = {"run", "-m", model_, "-p", "a", "-n", "1", "--json"};
    ExpectRefused(RunProgram(arguments, to_a_full_disk), {"standard output"});
  }
}

TEST_F(CommandLineTest, ForeignAndCutFilesAreRefusedByName) {
  const std::string bytes = test::ReadAll(model_);
  for (const size_t length : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, bytes.size() / 2, bytes.size() - 1}) {
    const std::string cut = folder_.Path("cut.glint");
    std::ofstream(cut, std::ios::binary) << bytes.substr(0, length);
    ExpectRefused(Run({"-p", "a"}, cut), {cut});
  }
  const std::string foreign = kTalesOpt + "/model.safetensors";
  ExpectRefused(Run({"-p", "a"}, foreign), {foreign});
  ExpectRefused(Run({"-p", "a"}, folder_.path()), {folder_.path()});
}

TEST_F(CommandLineTest, AnUnreadableModelIsRefusedByName) {
  ASSERT_EQ(chmod(model_.c_str(), 0), 0);
  ASSERT_EQ(chmod(folder_.path().c_str(), 0755), 0);
  test::ProgramOptions options;
  if (geteuid() == 0) {
    // Root reads everything.
    options.launcher = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
    const Finished version = RunProgram({"--version"}, options);
    if (version.exit_code != 0) GTEST_SKIP() << "nobody cannot run the program here: " << version.err;
  }
  ExpectRefused(RunProgram({"run", "-m", model_, "-p", "a"}, options), {model_, "Permission denied"});
}

TEST_F(CommandLineTest, PromptsThatDoNotFitAreRefused) {
  ExpectRefused(Run({"-p", std::string(64, 'a')}), {"65 tokens", "context of 64"});
  EXPECT_EQ(Run({"-p", std::string(63, 'a'), "-n", "0"}).exit_code, 0);
  ExpectRefused(Run({"-p", std::string(100'000, 'a')}), {"context of 64"});
  const std::string large = folder_.Path("large.txt");
  std::ofstream(large, std::ios::binary).close();
  std::filesystem::resize_file(large, uint64_t{1} << 40);  // sparse; read whole it would fill the memory
  ExpectRefused(Run({"-f", large}), {"context of 64"});
  ExpectRefused(Run({"-f", "/dev/zero"}), {"context of 64"});
  ExpectRefused(Run({"-f", folder_.Path("missing.txt")}), {folder_.Path("missing.txt")});
  ExpectRefused(Run({"-f", folder_.path()}), {folder_.path()});
}

TEST_F(CommandLineTest, EvalRefusesTextsThatAreMissingOrTooShort) {
  const std::string text = folder_.Path("short.txt");
  std::ofstream(text) << "short";
  ExpectRefused(RunProgram({"eval", "-m", model_, "--window", "32", "-f", text}), {"5 tokens", "32"});
  ExpectRefused(RunProgram({"eval", "-m", model_, "--window", "32", "-f", folder_.Path("none.txt")}), {"none.txt"});
  ExpectRefused(RunProgram({"eval", "-m", model_, "--window", "65", "-f", text}), {"64"});
  ExpectRefused(RunProgram({"eval", "-m", model_, "--window", "0", "-f", text}), {"window"});
  ExpectRefused(RunProgram({"eval", "-m", model_, "--window", "32", "-f", folder_.path()}), {folder_.path()});
  ExpectRefused(RunProgram({"eval", "-m", model_, "--window", "32", "-f", "/dev/zero"}), {"/dev/zero", "1048576"});
}

TEST_F(CommandLineTest, TheLeastBudgetWorksAndLessIsRefusedByName) {
  const std::vector<std::string> common = {"-m", model_, "-c", "48", "-t", "2"};
  std::vector<std::string> plan = {"plan", "--json"};
  plan.insert(plan.end(), common.begin(), common.end());
  const uint64_t least = RunProgram(plan).Json().at("least_budget_bytes");
  const auto run = [&](uint64_t budget) {
    std::vector<std::string> arguments = {"run", "-p", "Once", "-n", "4", "--budget", Concat(budget)};
    arguments.insert(arguments.end(), common.begin(), common.end());
    return RunProgram(arguments);
  };
  EXPECT_EQ(run(least).exit_code, 0);
  ExpectRefused(run(least - 1), {Concat(least, " bytes")});
  plan.insert(plan.end(), {"--budget", Concat(least - 1)});
  ExpectRefused(RunProgram(plan), {Concat(least, " bytes")});
}

TEST_F(CommandLineTest, PackingWhereNothingCanBeWrittenIsRefused) {
  const std::string nowhere = folder_.Path("no/such/folder/x.glint");
  ExpectRefused(RunProgram({"pack", kTalesOpt, "-o", nowhere}), {folder_.Path("no/such/folder")});
  ExpectRefused(RunProgram({"pack", folder_.path(), "-o", folder_.Path("x.glint")}), {folder_.path()});
  EXPECT_THAT(FilesIn(folder_.path()), testing::ElementsAre("tiny.glint"));
}

TEST_F(CommandLineTest, PackingToAFullDiskLeavesNothing) {
  const test::TempDir disk;
  for (const uint64_t room : {uint64_t{10'000}, uint64_t{4'000'000}, uint64_t{15'000'000}}) {
    ExpectRefused(RunProgram({"pack", kTalesOpt, "-o", disk.Path("x.glint")}, {.file_bytes_max = room}),
                  {disk.path(), "File too large"});
    EXPECT_THAT(FilesIn(disk.path()), IsEmpty());
  }
}

TEST_F(CommandLineTest, AFullDiskLeavesTheFileThatWasThere) {
  const test::TempDir disk;
  const std::string before = test::ReadAll(folder_.Path("tiny.glint"));
  std::ofstream(disk.Path("x.glint"), std::ios::binary) << before;
  ExpectRefused(RunProgram({"pack", kTalesOpt, "-o", disk.Path("x.glint")}, {.file_bytes_max = 4'000'000}),
                {"File too large"});
  EXPECT_THAT(FilesIn(disk.path()), testing::ElementsAre("x.glint"));
  EXPECT_TRUE(test::ReadAll(disk.Path("x.glint")) == before);
}

TEST_F(CommandLineTest, PackingToAFullFileSystemLeavesNothing) {
  const test::TempDir disk;
  if (mount("tmpfs", disk.path().c_str(), "tmpfs", 0, "size=4m") != 0) {
    GTEST_SKIP() << "cannot mount a small file system: " << std::strerror(errno);
  }
  const Finished packed = RunProgram({"pack", kTalesOpt, "-o", disk.Path("x.glint")});
  const std::vector<std::string> left = FilesIn(disk.path());
  EXPECT_EQ(umount2(disk.path().c_str(), MNT_DETACH), 0);
  ExpectRefused(packed, {disk.path(), "No space left"});
  EXPECT_THAT(left, IsEmpty());
}

}  // namespace
}  // namespace glint
