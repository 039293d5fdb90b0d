// What `run`, `eval` and `plan` report, and how `run` stops.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>

#include "glint/base/text.h"
#include "test/apps/program.h"
#include "test/support/tiny_model.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace glint {
namespace {

using test::ExpectRefused;
using test::Finished;
using test::RunProgram;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kTalesOpt = std::string(GLINT_TEST_DATA) + "/models/tales-opt";

void ExpectKeys(const nlohmann::json& json, const std::vector<std::string>& keys) {
  for (const std::string& key : keys) EXPECT_TRUE(json.contains(key)) << key;
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Character character = DecodeUtf8(text);
    if (character.kind != Utf8Character::Kind::kValid) return false;
    text.remove_prefix(character.bytes);
  }
  return true;
}

// The included model, packed by the program.
class TalesTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    const Finished packed = RunProgram({"pack", kTalesOpt, "-o", folder_->Path("tales.glint"), "--json"});
    ASSERT_EQ(packed.exit_code, 0) << packed.err;
    ExpectKeys(packed.Json(), {"model_file", "type", "has_tokenizer", "file_bytes", "model_hash"});
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static std::vector<std::string> Command(const std::string& name, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {name, "-m", folder_->Path("tales.glint"), "-t", "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  static test::TempDir* folder_;
};

test::TempDir* TalesTest::folder_ = nullptr;

TEST_F(TalesTest, RunReportsEveryKeyOfTheDesign) {
  const Finished run = RunProgram(Command("run", {"-p", "Once upon a time there was a king who had", "-n", "8",
                                                  "--temp", "0", "--budget", "14MB", "--json"}));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const nlohmann::json json = run.Json();
  ExpectKeys(json, {"text",
                    "token_ids",
                    "prompt_tokens",
                    "generated_tokens",
                    "stop_reason",
                    "tokens_per_second",
                    "time_to_first_token_ms",
                    "budget_bytes",
                    "held_bytes_max",
                    "peak_rss_bytes",
                    "flash_read_bytes",
                    "missed_bundle_bytes",
                    "flash_reads",
                    "cache_hits",
                    "cache_misses",
                    "io_engine",
                    "stall_ms",
                    "compute_ms",
                    "predict_ms",
                    "verify_ms",
                    "logits_hash"});
  EXPECT_EQ(json.at("text"), " a daughter, and had a daughter,");
  EXPECT_EQ(json.at("token_ids"), nlohmann::json({2, 3030, 637, 262, 542, 450, 312, 262, 708, 430, 341,  //
                                                  262, 1040, 15, 273, 341, 262, 1040, 15}));
  EXPECT_EQ(json.at("prompt_tokens"), 11);
  EXPECT_EQ(json.at("generated_tokens"), 8);
  EXPECT_EQ(json.at("stop_reason"), "length");
  EXPECT_EQ(json.at("budget_bytes"), 14'000'000);
  EXPECT_LE(json.at("held_bytes_max"), 14'000'000);
  EXPECT_GT(json.at("flash_read_bytes"), 0);
  EXPECT_GE(json.at("flash_read_bytes"), json.at("missed_bundle_bytes"));
  EXPECT_GT(json.at("peak_rss_bytes"), 1'000'000);
  EXPECT_GT(json.at("tokens_per_second"), 0);
  EXPECT_THAT(json.at("logits_hash").get<std::string>(), AllOf(StartsWith("0x"), testing::SizeIs(18)));
}

TEST_F(TalesTest, TextGoesToStdoutAndCostsToStderr) {
  const Finished run = RunProgram(Command("run", {"-p", "Once upon a time", "-n", "5", "--temp", "0"}));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, StartsWith("Once upon a time"));
  EXPECT_THAT(run.out, testing::EndsWith("\n"));
  EXPECT_THAT(run.err, AllOf(HasSubstr("5 generated tokens"), HasSubstr("stopped: length"), HasSubstr("budget "),
                             HasSubstr("hits"), HasSubstr("misses"), HasSubstr("logits 0x")));
}

TEST_F(TalesTest, TheEndOfTheContextIsAReasonToStop) {
  const nlohmann::json json =
      RunProgram(Command("run", {"-p", "Once upon a time", "-c", "12", "--ignore-eos", "--json"})).Json();
  EXPECT_EQ(json.at("stop_reason"), "context");
  EXPECT_EQ(json.at("context"), 12);
  // The last token is sampled after all positions are taken.
  EXPECT_EQ(json.at("token_ids").size(), 13);
}

TEST_F(TalesTest, TheSeedDecidesWhatIsDrawn) {
  const auto ids = [](const std::string& seed) {
    return RunProgram(Command("run", {"-p", "Once", "-n", "12", "--temp", "1.5", "-s", seed, "--json"}))
        .Json()
        .at("token_ids");
  };
  EXPECT_EQ(ids("7"), ids("7"));
  EXPECT_NE(ids("7"), ids("8"));
}

TEST_F(TalesTest, InterruptingARunEndsItCleanlyWithItsCosts) {
  const uint64_t least = RunProgram(Command("plan", {"--budget", "20MB", "--json"})).Json().at("least_budget_bytes");
  // So slow that it cannot be done before the signal comes.
  const std::vector<std::string> arguments = {
      "-p", "Once upon a time", "--ignore-eos", "--budget", Concat(least), "--window", "0"};
  const Finished run = RunProgram(Command("run", arguments), {.interrupt = true});
  EXPECT_EQ(run.exit_code, 0) << "signal " << run.signal << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr("stopped: interrupted"), HasSubstr("budget "), HasSubstr("misses")));
  EXPECT_THAT(run.out, testing::EndsWith("\n"));
  std::vector<std::string> with_json = arguments;
  with_json.push_back("--json");
  const Finished json = RunProgram(Command("run", with_json), {.interrupt = true});
  EXPECT_EQ(json.exit_code, 0) << "signal " << json.signal << json.err;
  EXPECT_EQ(json.Json().at("stop_reason"), "interrupted");
}

TEST_F(TalesTest, AConfigFileSaysWhatTheCommandLineWould) {
  const std::string config = folder_->Path("run.toml");
  std::ofstream(config) << "budget = \"14MB\"\npredict = 6\ntemp = 0\nprompt = \"Once upon a time\"\nwindow = 2\n";
  const nlohmann::json from_file = RunProgram(Command("run", {"--config", config, "--json"})).Json();
  const nlohmann::json from_line = RunProgram(Command("run", {"--budget", "14MB", "-n", "6", "--temp", "0", "-p",
                                                              "Once upon a time", "--window", "2", "--json"}))
                                       .Json();
  for (const char* key : {"token_ids", "budget_bytes", "logits_hash", "stop_reason", "flash_read_bytes"}) {
    EXPECT_EQ(from_file.at(key), from_line.at(key)) << key;
  }
  // What the command line says goes before the file.
  EXPECT_EQ(RunProgram(Command("run", {"--config", config, "-n", "2", "--json"})).Json().at("generated_tokens"), 2);
  ExpectRefused(RunProgram(Command("run", {"--config", folder_->Path("none.toml"), "-p", "a"})), {"none.toml"});
  ExpectRefused(RunProgram(Command("run", {"--config", folder_->path(), "-p", "a"})), {folder_->path()});
}

TEST_F(TalesTest, AConfigFileWithAnUnknownNameIsRefused) {
  const std::string config = folder_->Path("unknown.toml");
  std::ofstream(config) << "budgte = \"14MB\"\n";
  ExpectRefused(RunProgram(Command("run", {"--config", config, "-p", "a", "-n", "1"})), {"budgte", config});
  std::ofstream(config) << "[table]\nbudget = \"14MB\"\n";
  ExpectRefused(RunProgram(Command("run", {"--config", config, "-p", "a", "-n", "1"})), {"table", config});
}

TEST_F(TalesTest, AConfigFileIsCheckedAsTheCommandLineIs) {
  const std::string config = folder_->Path("checked.toml");
  std::ofstream(config) << "predictor = \"guess\"\n";
  ExpectRefused(RunProgram(Command("run", {"--config", config, "-p", "a"})), {"predictor", "guess"});
  std::ofstream(config) << "prompt = \"a\"\nignore-eos = true\njson = true\npredict = 3\n";
  EXPECT_EQ(RunProgram(Command("run", {"--config", config})).Json().at("generated_tokens"), 3);
  ExpectRefused(RunProgram(Command("run", {"--config", config, "--token-ids", "5"})), {"--prompt"});
}

TEST_F(TalesTest, EvalReportsEveryKeyOfTheDesign) {
  const Finished eval =
      RunProgram(Command("eval", {"-f", kTalesOpt + "/text/valid.txt", "--windows-max", "2", "--json"}));
  ASSERT_EQ(eval.exit_code, 0) << eval.err;
  const nlohmann::json json = eval.Json();
  const std::vector<std::string> keys = {"recall", "precision", "active_fraction", "predicted_fraction"};
  ExpectKeys(json, {"perplexity", "tokens", "layers"});
  ExpectKeys(json, keys);
  EXPECT_EQ(json.at("tokens"), 512);
  EXPECT_EQ(json.at("windows"), 2);
  EXPECT_GT(json.at("perplexity"), 20);
  EXPECT_LT(json.at("perplexity"), 100);
  EXPECT_EQ(json.at("recall"), 1.0);
  EXPECT_EQ(json.at("precision"), 1.0);
  ASSERT_EQ(json.at("layers").size(), 8);
  for (const nlohmann::json& layer : json.at("layers")) ExpectKeys(layer, keys);
}

TEST_F(TalesTest, PlanReportsSharesThatMakeUpWhatIsHeld) {
  const Finished plan = RunProgram(Command("plan", {"--budget", "14MB", "-c", "256", "--json"}));
  ASSERT_EQ(plan.exit_code, 0) << plan.err;
  const nlohmann::json json = plan.Json();
  ExpectKeys(json, {"budget_bytes", "least_budget_bytes", "shares", "flash_bytes_per_token_expected",
                    "flash_bytes_per_token_max", "flash_ms_per_token_expected"});
  uint64_t sum = 0;
  for (const char* share : {"pinned", "predictor", "kv", "slots", "staging", "scratch", "kernel"}) {
    sum += json.at("shares").at(Concat(share, "_bytes")).get<uint64_t>();
  }
  EXPECT_EQ(json.at("held_bytes"), sum);
  EXPECT_LE(sum, 14'000'000U);
  const nlohmann::json run =
      RunProgram(Command("run", {"--budget", "14MB", "-c", "256", "-p", "Once", "-n", "1", "--json"})).Json();
  EXPECT_EQ(run.at("held_bytes_max"), sum);
}

TEST_F(TalesTest, InspectAndVerifyReportJson) {
  const Finished inspect = RunProgram({"inspect", folder_->Path("tales.glint"), "--json"});
  EXPECT_EQ(inspect.exit_code, 0);
  EXPECT_FALSE(inspect.Json().empty());
  const Finished verify = RunProgram({"verify", folder_->Path("tales.glint"), "--json"});
  EXPECT_EQ(verify.exit_code, 0);
  EXPECT_FALSE(verify.Json().empty());
}

// Models of random weights: what they write is any bytes.
class TinyRunTest : public ::testing::Test {
 protected:
  void Write(std::span<const std::byte> tokenizer) {
    const auto written = test::WriteTinyModel(model_, test::TinyModelConfig(), {.tokenizer = tokenizer});
    ASSERT_TRUE(written.ok()) << written.status().message();
  }

  Finished Run(std::vector<std::string> more) const {
    more.insert(more.begin(), {"run", "-m", model_, "--budget", "16MB"});
    return RunProgram(more);
  }

  const test::TempDir folder_;
  const std::string model_ = folder_.Path("tiny.glint");
};

TEST_F(TinyRunTest, TextIsUtf8WhateverTheTokensAre) {
  Write(BuildByteTokenizer());
  bool replaced = false;
  for (const char* seed : {"1", "2", "3"}) {
    const std::vector<std::string> common = {"-p",      "\xC3\xA9", "-n",      "60", "--temp", "2",  "--top-k",     "0",
                                             "--top-p", "1",        "--min-p", "0",  "-s",     seed, "--ignore-eos"};
    const Finished shown = Run(common);
    ASSERT_EQ(shown.exit_code, 0) << shown.err;
    EXPECT_THAT(shown.out, StartsWith("\xC3\xA9"));
    EXPECT_TRUE(IsUtf8(shown.out));
    replaced = replaced || shown.out.find("\xEF\xBF\xBD") != std::string::npos;
    std::vector<std::string> with_json = common;
    with_json.push_back("--json");
    const nlohmann::json json = Run(with_json).Json();
    EXPECT_EQ(Concat("\xC3\xA9", json.at("text").get<std::string>(), "\n"), shown.out);
  }
  EXPECT_TRUE(replaced) << "these tokens were to be no UTF-8";
}

TEST_F(TinyRunTest, TokenIdsAreUsedAsTheyAre) {
  Write(BuildByteTokenizer());
  // The byte tokenizer's ids are 4 more than the bytes; a prompt has BOS before it.
  const nlohmann::json text = Run({"-p", "ab", "-n", "8", "--temp", "0", "--json"}).Json();
  const nlohmann::json ids = Run({"--token-ids", "2,101,102", "-n", "8", "--temp", "0", "--json"}).Json();
  EXPECT_EQ(text.at("token_ids"), ids.at("token_ids"));
  EXPECT_EQ(text.at("logits_hash"), ids.at("logits_hash"));
  EXPECT_EQ(text.at("text"), ids.at("text"));
  EXPECT_NE(Run({"--token-ids", "101,102", "-n", "8", "--temp", "0", "--json"}).Json().at("logits_hash"),
            ids.at("logits_hash"));
}

TEST_F(TinyRunTest, SpecialTokensInThePromptAreTextUnlessAskedFor) {
  Write(BuildByteTokenizer());
  EXPECT_EQ(Run({"-p", "</s>", "-n", "0", "--json"}).Json().at("prompt_tokens"), 5);
  EXPECT_EQ(Run({"-p", "</s>", "-n", "0", "--special", "--json"}).Json().at("token_ids"), nlohmann::json({2, 2}));
}

TEST_F(TinyRunTest, AModelWithoutATokenizerRunsOnTokenIds) {
  Write({});
  const nlohmann::json json = Run({"--token-ids", "2,101,102", "-n", "8", "--temp", "0", "--json"}).Json();
  EXPECT_EQ(json.at("text"), "");
  EXPECT_EQ(json.at("token_ids").size(), 3 + json.at("generated_tokens").get<size_t>());
  ExpectRefused(Run({"-p", "ab"}), {"no tokenizer", "--token-ids"});
}

TEST_F(TinyRunTest, PackingWithoutATokenizerWarns) {
  const std::string folder = std::string(GLINT_TEST_DATA) + "/models/opt-variants/plain";
  const Finished packed = RunProgram({"pack", folder, "-o", model_});
  EXPECT_EQ(packed.exit_code, 0);
  EXPECT_THAT(packed.err, AllOf(HasSubstr("warning"), HasSubstr(folder), HasSubstr("--token-ids")));
  EXPECT_EQ(Run({"--token-ids", "2,3", "-n", "2", "--ignore-eos", "--json"}).Json().at("generated_tokens"), 2);
}

}  // namespace
}  // namespace glint
