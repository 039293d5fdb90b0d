#include "storage/format/model_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "glint/base/text.h"
#include "storage/format/checksum.h"
#include "test/support/temp_dir.h"
#include "test/support/tiny_model.h"

namespace glint {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

// The header and the directory's JSON of a tiny model, to be changed and parsed again.
class ModelDirectoryTest : public testing::Test {
 protected:
  void SetUp() override { Make(test::TinyModelConfig()); }

  void Make(const ModelConfig& config) {
    const std::vector<std::byte> tokenizer(1000, std::byte{7});
    const std::string path = folder_.Path("tiny.glint");
    auto written = test::WriteTinyModel(path, config, {.tokenizer = tokenizer});
    ASSERT_TRUE(written.ok()) << written.status().message();
    directory_ = *written;
    std::ifstream file(path, std::ios::binary);
    bytes_ = std::string(std::istreambuf_iterator<char>(file), {});
    auto header = ParseHeader(std::as_bytes(std::span(bytes_)).first(kHeaderBytes), bytes_.size(), path);
    ASSERT_TRUE(header.ok()) << header.status().message();
    header_ = *header;
    json_ = bytes_.substr(header_.directory.offset, header_.directory.bytes);
  }

  // Parses `json` as if it were what the header's checksum covers.
  Result<ModelDirectory> Parse(const std::string& json) const {
    Header header = header_;
    header.directory.bytes = json.size();
    header.directory_checksum = Checksum(std::as_bytes(std::span(json)));
    return ParseDirectory(json, header, "x.glint");
  }

  std::string ErrorOf(const std::string& json) const {
    const auto parsed = Parse(json);
    return parsed.ok() ? "no error" : parsed.status().message();
  }

  template <typename Change>
  std::string ErrorAfter(Change change) const {
    Json json = Json::parse(json_);
    change(json);
    return ErrorOf(json.dump());
  }

  test::TempDir folder_;
  std::string bytes_;
  std::string json_;
  Header header_;
  ModelDirectory directory_;
};

TEST_F(ModelDirectoryTest, WhatIsParsedIsWhatWasWritten) {
  const auto parsed = ParseDirectory(json_, header_, "x.glint");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(*parsed, directory_);
  EXPECT_EQ(parsed->hash, header_.directory_checksum);
  EXPECT_EQ(parsed->config, test::TinyModelConfig());
  EXPECT_EQ(SerializeDirectory(*parsed), json_);
}

TEST_F(ModelDirectoryTest, EveryConfigFieldSurvives) {
  ModelConfig config = test::TinyModelConfig();
  config.name = "a \"name\" \xC3\xA9";
  config.synthetic = true;
  config.embedding_size = 32;
  config.norm_before = false;
  config.final_norm = false;
  config.gated = true;
  config.tied_output = false;
  config.norm_epsilon = 1.2345678e-6F;
  config.bos_id = -1;
  config.eos_ids = {1, 259};
  config.activity = 0.0625;
  Make(config);
  EXPECT_EQ(directory_.config, config);
  EXPECT_NE(directory_.FindMatrix("output.weight"), nullptr);
  EXPECT_NE(directory_.FindMatrix("token_embd_proj_in.weight"), nullptr);
  EXPECT_NE(directory_.FindVector("blk.1.ffn_gate.bias"), nullptr);
  EXPECT_EQ(directory_.FindVector("output_norm.weight"), nullptr);
}

TEST_F(ModelDirectoryTest, ForeignFilesAreNamedSo) {
  for (const std::string& bytes :
       {std::string(), std::string("g"), std::string("GGUF\3\0\0\0", 8) + std::string(8000, 'x'),
        std::string("\x40\0\0\0\0\0\0\0{\"__metadata__\"", 23), std::string(4096, '\0')}) {
    const auto header = ParseHeader(std::as_bytes(std::span(bytes)), bytes.size(), "x");
    ASSERT_FALSE(header.ok());
    EXPECT_THAT(header.status().message(), HasSubstr("not a glint model file"));
    EXPECT_EQ(header.status().message().find('\n'), std::string::npos);
  }
}

TEST_F(ModelDirectoryTest, AnotherVersionNamesTheCommandThatRepacks) {
  for (const uint32_t version : {0U, kFormatVersion + 1}) {
    Header header = header_;
    header.version = version;
    const auto bytes = SerializeHeader(header);
    const auto parsed = ParseHeader(bytes, header.file_bytes, "x");
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(parsed.status().code(), StatusCode::kUnsupported);
    EXPECT_THAT(parsed.status().message(), HasSubstr("glint pack"));
  }
}

TEST_F(ModelDirectoryTest, EveryFlippedBitOfTheHeaderIsRefused) {
  const std::string header_bytes = bytes_.substr(0, kHeaderBytes);
  for (size_t i = 0; i < kHeaderBytes; ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = header_bytes;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
      ASSERT_FALSE(ParseHeader(std::as_bytes(std::span(flipped)), bytes_.size(), "x").ok()) << i << " " << bit;
    }
  }
}

TEST_F(ModelDirectoryTest, EveryFlippedByteOfTheDirectoryIsRefused) {
  for (size_t i = 0; i < json_.size(); ++i) {
    std::string flipped = json_;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x01);
    const auto parsed = ParseDirectory(flipped, header_, "x.glint");
    ASSERT_FALSE(parsed.ok()) << i;
    ASSERT_THAT(parsed.status().message(), HasSubstr("wanted checksum")) << i;
  }
}

// Without the checksum to stop them: a change may make another valid directory, but never a crash.
TEST_F(ModelDirectoryTest, EveryByteChangedUnderAGoodChecksumIsHandled) {
  size_t refused = 0;
  for (size_t i = 0; i < json_.size(); ++i) {
    for (const char c : {'0', '9', '"', ',', '[', '{', '\xFF'}) {
      std::string changed = json_;
      changed[i] = c;
      const auto parsed = Parse(changed);
      if (!parsed.ok()) {
        ++refused;
        ASSERT_EQ(parsed.status().message().find('\n'), std::string::npos);
        ASSERT_THAT(parsed.status().message(), HasSubstr("'x.glint'"));
      }
    }
  }
  EXPECT_GT(refused, json_.size() * 5);
}

TEST_F(ModelDirectoryTest, FaultsAreNamedByKey) {
  EXPECT_THAT(ErrorAfter([](Json& j) { j["extra"] = 1; }), HasSubstr("unknown key 'extra'"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["ffn"][1]["extra"] = 1; }), HasSubstr("unknown key 'ffn[1].extra'"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j.erase("type"); }), HasSubstr("key 'type': wanted a value, got none"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["type"] = "q3_k"; }), HasSubstr("got 'q3_k'"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["format"] = "other"; }), HasSubstr("wanted 'glint', got 'other'"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["config"]["layer_count"] = -1; }), HasSubstr("'config.layer_count'"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["config"]["layer_count"] = 257; }), HasSubstr("'layer_count'"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["config"]["head_count"] = 3; }), HasSubstr("a divisor of hidden_size 64"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["config"]["norm_epsilon"] = 1e300; }), HasSubstr("'config.norm_epsilon'"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["config"]["activation"] = "gelu"; }), HasSubstr("wanted 'relu', got 'gelu'"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["tables"].erase(2); }), HasSubstr("tables: count: wanted 3, got 2"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["tables"][0]["checksums"][0] = "0xG"; }),
              HasSubstr("'tables[0].checksums[0]'"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["tokenizer"]["checksums"].push_back("0x0123456789abcdef"); }),
              HasSubstr("tokenizer: checksums: wanted 1, got 2"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["matrices"].erase(0); }),
              HasSubstr("wanted 'token_embd.weight', got none of that name"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["matrices"].push_back(j["matrices"][0]); }), HasSubstr("once each"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["matrices"][0]["name"] = "output_norm.weight"; }), HasSubstr("matrices"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["matrices"][0]["rows"] = 261; }), HasSubstr("wanted 260, got 261"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["matrices"][0]["bytes"] = 4096; }), HasSubstr("token_embd.weight: bytes"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["matrices"][0]["offset"] = 65537; }), HasSubstr("a multiple of 65536"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["matrices"][0]["offset"] = 0xFFFFFFFFFFFF0000U; }),
              HasSubstr("wanted an extent in the file"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["matrices"][0]["offset"] = j["matrices"][1]["offset"]; }),
              HasSubstr("ends, got"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["vectors"][0]["table"] = 3; }), HasSubstr("table: wanted less than 3, got 3"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["vectors"][0]["offset"] = 4; }), HasSubstr("a multiple of 64"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["vectors"][0]["offset"] = 0xFFFFFFFFFFFFFFC0U; }),
              HasSubstr("wanted an array in table"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["vectors"][0]["count"] = 65; }), HasSubstr("count: wanted 64, got 65"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["vectors"][0]["offset"] = j["vectors"][1]["offset"]; }),
              HasSubstr("wanted an array that begins after"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["ffn"][0]["neurons_per_bundle"] = 97; }), HasSubstr("from 1 to 96"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["ffn"][0]["rest_checksums"]["count"] = 1; }),
              HasSubstr("ffn[0].rest_checksums: count"));
  EXPECT_THAT(ErrorAfter([](Json& j) { j["ffn"].erase(1); }), HasSubstr("ffn: count: wanted 2, got 1"));
}

TEST_F(ModelDirectoryTest, HostileJsonIsRefused) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("not JSON"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("an object"));
  EXPECT_THAT(ErrorOf(json_ + "x"), HasSubstr("not JSON"));
  EXPECT_THAT(ErrorOf(json_.substr(0, json_.size() / 2)), HasSubstr("not JSON"));
  EXPECT_THAT(ErrorOf(std::string(100000, '[')), HasSubstr("depth"));
  std::string many = "[0";
  for (int i = 0; i < 200000; ++i) many += ",0";
  EXPECT_THAT(ErrorOf(many + "]"), HasSubstr("values"));
  EXPECT_THAT(ErrorOf("{\"format\":\"glint\",\"format\":\"glint\"}"), HasSubstr("given twice"));
  EXPECT_THAT(ErrorOf(std::string(kDirectoryBytesMax + 1, ' ')), HasSubstr("wanted at most 1048576 bytes"));
}

TEST_F(ModelDirectoryTest, TheLargestConfigFitsTheDirectory) {
  ModelConfig config = test::TinyModelConfig();
  config.layer_count = kLayerCountMax;
  config.hidden_size = 16;
  config.ffn_size = 8;
  config.embedding_size = 8;
  config.vocab_size = 8;
  config.gated = true;
  config.tied_output = false;
  Make(config);
  EXPECT_EQ(directory_.ffn.size(), kLayerCountMax);
  // Numbers of a large file have up to 9 digits more than those of this one; about 40 of them are in a layer.
  EXPECT_LT(json_.size() + 9 * 40 * kLayerCountMax, kDirectoryBytesMax);
}

TEST(ModelConfigTest, BoundsAreNamed) {
  const auto error_of = [](auto change) {
    ModelConfig config = test::TinyModelConfig();
    change(config);
    return ValidateModelConfig(config).message();
  };
  EXPECT_EQ(error_of([](ModelConfig&) {}), "");
  EXPECT_THAT(error_of([](ModelConfig& c) { c.hidden_size = 0; }),
              HasSubstr("'hidden_size': wanted 1 to 24576, got 0"));
  EXPECT_THAT(error_of([](ModelConfig& c) { c.ffn_size = UINT32_MAX; }), HasSubstr("'ffn_size'"));
  EXPECT_THAT(error_of([](ModelConfig& c) { c.embedding_size = 65; }), HasSubstr("'embedding_size': wanted 1 to 64"));
  EXPECT_THAT(error_of([](ModelConfig& c) { c.eos_ids = {260}; }), HasSubstr("'eos_ids': wanted 0 to 259, got 260"));
  EXPECT_THAT(error_of([](ModelConfig& c) { c.eos_ids.assign(17, 0); }), HasSubstr("'eos_ids (count)'"));
  EXPECT_THAT(error_of([](ModelConfig& c) { c.norm_epsilon = NAN; }), HasSubstr("'norm_epsilon'"));
  EXPECT_THAT(error_of([](ModelConfig& c) { c.activity = -0.1; }), HasSubstr("'activity'"));
  EXPECT_THAT(error_of([](ModelConfig& c) { c.name = "\x1b[2J"; }), HasSubstr("no control characters"));
  EXPECT_THAT(error_of([](ModelConfig& c) { c.architecture = ""; }), HasSubstr("'architecture'"));
}

}  // namespace
}  // namespace glint
