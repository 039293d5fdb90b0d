#include "storage/checkpoint/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "test/storage/checkpoint/checkpoint_maker.h"
#include "test/support/temp_dir.h"

namespace glint {
namespace {

using test::TempDir;
using test::WriteText;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Result<HfConfig> Parse(const std::string& config, const std::string& generation = "") {
  return ParseHfConfig(config, generation, "config.json", "generation_config.json");
}

TEST(HfConfigTest, AbsentKeysHaveTheDefaultsOfOptConfig) {
  Result<HfConfig> hf = Parse(R"({"model_type":"opt"})");
  ASSERT_TRUE(hf.ok()) << hf.status().message();
  const ModelConfig& config = hf->config;
  EXPECT_EQ(config.architecture, "opt");
  EXPECT_EQ(config.layer_count, 12U);
  EXPECT_EQ(config.hidden_size, 768U);
  EXPECT_EQ(config.ffn_size, 3072U);
  EXPECT_EQ(config.head_count, 12U);
  EXPECT_EQ(config.vocab_size, 50272U);
  EXPECT_EQ(config.embedding_size, 768U);
  EXPECT_EQ(config.context_max, 2048U);
  EXPECT_EQ(config.position_offset, 2U);
  EXPECT_TRUE(config.norm_before);
  EXPECT_TRUE(config.final_norm);
  EXPECT_TRUE(config.tied_output);
  EXPECT_FALSE(config.gated);
  EXPECT_FALSE(config.synthetic);
  EXPECT_EQ(config.norm_epsilon, 1e-5F);
  EXPECT_EQ(config.bos_id, 2);
  EXPECT_THAT(config.eos_ids, ElementsAre(2));
  EXPECT_TRUE(hf->has_biases);
  EXPECT_TRUE(hf->has_norm_parameters);
}

TEST(HfConfigTest, EveryReleasedSizeIsRead) {
  const struct {
    uint32_t layers, hidden, heads;
  } sizes[] = {{12, 768, 12},  {24, 2048, 32}, {32, 2560, 32}, {32, 4096, 32},
               {40, 5120, 40}, {48, 7168, 56}, {64, 9216, 72}};
  for (const auto& size : sizes) {
    Result<HfConfig> hf = Parse(
        Concat(R"({"model_type":"opt","activation_function":"relu","_remove_final_layer_norm":false,"bos_token_id":2,)",
               R"("do_layer_norm_before":true,"eos_token_id":2,"pad_token_id":1,"prefix":"</s>","vocab_size":50272,)",
               R"("max_position_embeddings":2048,"num_hidden_layers":)", size.layers, R"(,"hidden_size":)", size.hidden,
               R"(,"word_embed_proj_dim":)", size.hidden, R"(,"ffn_dim":)", 4 * size.hidden,
               R"(,"num_attention_heads":)", size.heads, "}"));
    ASSERT_TRUE(hf.ok()) << hf.status().message();
    EXPECT_EQ(hf->config.layer_count, size.layers);
    EXPECT_EQ(hf->config.ffn_size, 4 * size.hidden);
    EXPECT_EQ(hf->config.embedding_size, size.hidden);
    EXPECT_TRUE(hf->config.final_norm);
  }
}

TEST(HfConfigTest, Opt350mNormsAfterAndProjectsItsEmbeddings) {
  Result<HfConfig> hf =
      Parse(R"({"model_type":"opt","do_layer_norm_before":false,"hidden_size":1024,"word_embed_proj_dim":512,)"
            R"("ffn_dim":4096,"num_attention_heads":16,"num_hidden_layers":24,"_remove_final_layer_norm":false})");
  ASSERT_TRUE(hf.ok()) << hf.status().message();
  EXPECT_EQ(hf->config.embedding_size, 512U);
  EXPECT_FALSE(hf->config.norm_before);
  EXPECT_FALSE(hf->config.final_norm);
}

TEST(HfConfigTest, FlagsChangeWhatTheModelHas) {
  EXPECT_FALSE(Parse(R"({"model_type":"opt","_remove_final_layer_norm":true})")->config.final_norm);
  EXPECT_FALSE(Parse(R"({"model_type":"opt","tie_word_embeddings":false})")->config.tied_output);
  EXPECT_FALSE(Parse(R"({"model_type":"opt","enable_bias":false})")->has_biases);
  EXPECT_FALSE(Parse(R"({"model_type":"opt","layer_norm_elementwise_affine":false})")->has_norm_parameters);
}

TEST(HfConfigTest, GenerationConfigSaysWhereTextEnds) {
  const std::string config = R"({"model_type":"opt","eos_token_id":7,"bos_token_id":null})";
  EXPECT_EQ(Parse(config)->config.bos_id, -1);
  EXPECT_THAT(Parse(config)->config.eos_ids, ElementsAre(7));
  EXPECT_THAT(Parse(config, R"({"eos_token_id":50118})")->config.eos_ids, ElementsAre(50118));
  EXPECT_THAT(Parse(config, R"({"eos_token_id":[2,50118]})")->config.eos_ids, ElementsAre(2, 50118));
  EXPECT_THAT(Parse(config, R"({"eos_token_id":null})")->config.eos_ids, ElementsAre(7));
  EXPECT_THAT(Parse(config, R"({})")->config.eos_ids, ElementsAre(7));
  EXPECT_THAT(Parse(R"({"model_type":"opt","eos_token_id":null})")->config.eos_ids, IsEmpty());
  const Status status = Parse(config, R"({"eos_token_id":50272})").status();
  EXPECT_THAT(status.message(), AllOf(HasSubstr("generation_config.json"), HasSubstr("50272")));
}

TEST(HfConfigTest, WhatIsNotSupportedIsRefusedByName) {
  const struct {
    const char* config;
    std::vector<const char*> says;
  } cases[] = {
      {R"({"model_type":"llama"})", {"'llama'", "'opt'"}},
      {R"({})", {"model_type", "'opt'"}},
      {R"({"model_type":"opt","activation_function":"gelu"})", {"'gelu'", "'relu'"}},
      {R"({"model_type":"opt","head_dim":32})", {"head_dim", "64", "32"}},
      {R"({"model_type":"opt","quantization_config":{"bits":4}})", {"quantization_config"}},
  };
  for (const auto& c : cases) {
    const Status status = Parse(c.config).status();
    EXPECT_EQ(status.code(), StatusCode::kUnsupported) << c.config;
    for (const char* says : c.says) EXPECT_THAT(status.message(), HasSubstr(says)) << c.config;
  }
}

TEST(HfConfigTest, FaultsNameFileKeyWantedAndGot) {
  const struct {
    const char* config;
    std::vector<const char*> says;
  } cases[] = {
      {R"({"model_type":"opt","hidden_size":0})", {"hidden_size", "'0'"}},
      {R"({"model_type":"opt","hidden_size":-768})", {"hidden_size", "'-768'"}},
      {R"({"model_type":"opt","hidden_size":"768"})", {"hidden_size", "768"}},
      {R"({"model_type":"opt","hidden_size":99999999999})", {"hidden_size", "99999999999"}},
      {R"({"model_type":"opt","ffn_dim":1e3})", {"ffn_dim", "1000"}},
      {R"({"model_type":"opt","num_attention_heads":7})", {"head", "7"}},
      {R"({"model_type":"opt","word_embed_proj_dim":1024})", {"embedding_size", "1024"}},
      {R"({"model_type":"opt","do_layer_norm_before":1})", {"do_layer_norm_before", "true or false", "'1'"}},
      {R"({"model_type":"opt","bos_token_id":50272})", {"bos_token_id", "50272"}},
      {R"({"model_type":"opt","eos_token_id":[1,"x"]})", {"eos_token_id", "x"}},
      {R"({"model_type":"opt","model_type":"opt"})", {"model_type"}},
      {R"({"model_type":3})", {"model_type", "a string", "'3'"}},
      {R"([])", {"an object"}},
      {R"({"model_type":"opt")", {"JSON"}},
      {"", {"JSON"}},
  };
  for (const auto& c : cases) {
    const Status status = Parse(c.config).status();
    EXPECT_EQ(status.code(), StatusCode::kCorruptData) << c.config;
    EXPECT_THAT(status.message(), HasSubstr("config.json")) << c.config;
    for (const char* says : c.says) EXPECT_THAT(status.message(), HasSubstr(says)) << c.config;
  }
}

TEST(HfConfigTest, WhatIsNoCheckpointIsSaidPlainly) {
  TempDir folder;
  Status status = ReadHfConfig(folder.path()).status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("no config.json"));

  status = ReadHfConfig(folder.Path("absent")).status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("does not exist"));

  WriteText(folder.Path("m.gguf"), "GGUF\x03");
  status = ReadHfConfig(folder.Path("m.gguf")).status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("GGUF"));

  WriteText(folder.Path("m.txt"), "x");
  status = ReadHfConfig(folder.Path("m.txt")).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("folder"));

  std::filesystem::create_directory(folder.Path("config.json"));
  EXPECT_FALSE(ReadHfConfig(folder.path()).ok());
}

TEST(HfConfigTest, TheModelIsCalledAsItsFolder) {
  TempDir folder;
  std::filesystem::create_directory(folder.Path("opt-\ntiny"));
  WriteText(folder.Path("opt-\ntiny/config.json"), R"({"model_type":"opt"})");
  Result<HfConfig> hf = ReadHfConfig(folder.Path("opt-\ntiny/"));
  ASSERT_TRUE(hf.ok()) << hf.status().message();
  EXPECT_EQ(hf->config.name, "opt-_tiny");

  // What is not UTF-8 would grow in the directory's JSON, and the longest such name be refused when all is written.
  std::string strange = "opt-\xC3\xA9";
  strange.append(200, '\xFF');
  std::filesystem::create_directory(folder.Path(strange));
  WriteText(folder.Path(strange) + "/config.json", R"({"model_type":"opt"})");
  hf = ReadHfConfig(folder.Path(strange));
  ASSERT_TRUE(hf.ok()) << hf.status().message();
  EXPECT_EQ(hf->config.name, "opt-\xC3\xA9");
}

}  // namespace
}  // namespace glint
