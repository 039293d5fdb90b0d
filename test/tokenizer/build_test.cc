// What the builders refuse, and how they say it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "test/support/temp_dir.h"
#include "test/tokenizer/tales_files.h"

namespace glint::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

json SmallJson() {
  return json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
    "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "dropout": null, "unk_token": "<s>", "byte_fallback": false, "ignore_merges": false,
              "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

Status BuildStatus(const json& root) { return BuildTokenizerFromJson(root.dump(), "t.json").status(); }

struct Refusal {
  const char* pointer;
  json value;
  StatusCode code;
  const char* message;
};

TEST(TokenizerBuildTest, TheSmallTokenizerIsAccepted) {
  const OwnedTokenizer owned(BuildTokenizerFromJson(SmallJson().dump(), "t.json"));
  EXPECT_THAT(owned.Encode("<s>aab"), ElementsAre(3, 0, 2));
}

TEST(TokenizerBuildTest, WhatIsNotByteLevelBpeIsRefusedByKey) {
  const std::vector<Refusal> refusals = {
      {"/normalizer",
       {{"type", "NFC"}},
       StatusCode::kUnsupported,
       "t.json.normalizer: wanted null, got {\"type\":\"NFC\"}"},
      {"/pre_tokenizer", nullptr, StatusCode::kUnsupported, "pre_tokenizer: wanted ByteLevel, got null"},
      {"/pre_tokenizer/type", "Metaspace", StatusCode::kUnsupported, "pre_tokenizer: wanted ByteLevel, got"},
      {"/pre_tokenizer/use_regex", false, StatusCode::kUnsupported, "pre_tokenizer.use_regex: wanted true, got false"},
      {"/pre_tokenizer/add_prefix_space", 1, StatusCode::kCorruptData, "add_prefix_space: wanted true or false, got 1"},
      {"/pre_tokenizer/new_option", 1, StatusCode::kUnsupported, "unknown key 'new_option'"},
      {"/decoder", {{"type", "WordPiece"}}, StatusCode::kUnsupported, "decoder: wanted ByteLevel, got"},
      {"/new_key", 1, StatusCode::kUnsupported, "t.json: unknown key 'new_key'"},
      {"/model/type", "Unigram", StatusCode::kUnsupported, "model.type: wanted \"BPE\", got \"Unigram\""},
      {"/model/dropout", 0.5, StatusCode::kUnsupported, "model.dropout: wanted null, got 0.5"},
      {"/model/byte_fallback", true, StatusCode::kUnsupported, "model.byte_fallback: wanted false, got true"},
      {"/model/ignore_merges", true, StatusCode::kUnsupported, "model.ignore_merges: wanted false, got true"},
      {"/model/continuing_subword_prefix", "##", StatusCode::kUnsupported, "continuing_subword_prefix"},
      {"/model/end_of_word_suffix", "</w>", StatusCode::kUnsupported, "end_of_word_suffix"},
      {"/model/vocab", json::array(), StatusCode::kCorruptData, "model.vocab: wanted an object, got array"},
      {"/model/vocab", json::object(), StatusCode::kCorruptData, "model.merges[0]: 'a' has no id"},
      {"/model/vocab/a", -1, StatusCode::kCorruptData, "model.vocab['a']: wanted an id, got -1"},
      {"/model/vocab/a", 1.5, StatusCode::kCorruptData, "wanted an id, got 1.5"},
      {"/model/vocab/a", "0", StatusCode::kCorruptData, "wanted an id, got \"0\""},
      {"/model/vocab/a", 1000000, StatusCode::kCorruptData,
       "model.vocab: token 'a' has id 1000000, the limit is 1000000"},
      {"/model/vocab/a", 1, StatusCode::kCorruptData, "model.vocab: id 1"},
      {"/model/vocab/", 9, StatusCode::kCorruptData, "the token with id 9 is empty"},
      {"/model/merges", 7, StatusCode::kCorruptData, "model.merges: wanted an array"},
      {"/model/merges/0", "ab", StatusCode::kCorruptData, "model.merges[0]: wanted two tokens, got \"ab\""},
      {"/model/merges/0", "a b c", StatusCode::kCorruptData, "model.merges[0]: wanted two tokens"},
      {"/model/merges/0", {"a", 1}, StatusCode::kCorruptData, "model.merges[0]: wanted two tokens"},
      {"/model/merges/0", "a z", StatusCode::kCorruptData, "model.merges[0]: 'z' has no id in t.json: model.vocab"},
      {"/model/merges/0", "b a", StatusCode::kCorruptData, "model.merges[0]: 'ba' has no id"},
      {"/added_tokens", 1, StatusCode::kCorruptData, "added_tokens: wanted an array, got number"},
      {"/added_tokens/0", 1, StatusCode::kCorruptData, "added_tokens[0]: wanted an object with an id"},
      {"/added_tokens/0/id", 1, StatusCode::kCorruptData, "token '<s>' has id 1, which is that of 'b'"},
      {"/added_tokens/0/id", 4000000000, StatusCode::kCorruptData, "has id 4000000000, the limit is 1000000"},
      {"/added_tokens/0/content", "a", StatusCode::kCorruptData, "token 'a' has id 3, but id 0 in"},
      {"/added_tokens/0/content", "", StatusCode::kCorruptData, "added_tokens[0].content"},
      {"/added_tokens/0/content", std::string(1025, 'x'), StatusCode::kUnsupported,
       "has 1025 bytes, the limit is 1024"},
      {"/added_tokens/0/single_word", true, StatusCode::kUnsupported,
       "added_tokens[0].single_word: wanted false, got true"},
      {"/added_tokens/0/lstrip", "yes", StatusCode::kCorruptData, "added_tokens[0].lstrip: wanted true or false"},
      {"/added_tokens/1", {{"id", 5}, {"content", "<s>"}}, StatusCode::kCorruptData, "token '<s>' is there twice"},
  };
  for (const Refusal& refusal : refusals) {
    json root = SmallJson();
    root[json::json_pointer(refusal.pointer)] = refusal.value;
    const Status status = BuildStatus(root);
    EXPECT_EQ(status.code(), refusal.code) << refusal.pointer << ": " << status.message();
    EXPECT_THAT(status.message(), HasSubstr(refusal.message)) << refusal.pointer;
    EXPECT_THAT(status.message(), HasSubstr("t.json")) << refusal.pointer;
  }
}

TEST(TokenizerBuildTest, WhatMakesNoDifferenceIsAccepted) {
  for (const auto& [pointer, value] : std::vector<std::pair<const char*, json>>{
           {"/model/dropout", 0.0},
           {"/model/end_of_word_suffix", ""},
           {"/model/unk_token", nullptr},
           {"/added_tokens", nullptr},
           {"/decoder", nullptr},
           {"/padding", {{"strategy", "BatchLongest"}}},
           {"/post_processor", {{"type", "TemplateProcessing"}}},
           {"/decoder", {{"type", "Sequence"}, {"decoders", {{{"type", "ByteLevel"}}}}}}}) {
    json root = SmallJson();
    root[json::json_pointer(pointer)] = value;
    EXPECT_TRUE(BuildStatus(root).ok()) << pointer << ": " << BuildStatus(root).message();
  }
}

TEST(TokenizerBuildTest, AnAddedTokenThatIsOtherBytesInTheAlphabetIsRefused) {
  json root = SmallJson();
  root["model"]["vocab"]["\u0120"] = 3;  // a space in the vocabulary, U+0120 as an added token
  root["added_tokens"][0]["content"] = "\u0120";
  EXPECT_EQ(BuildStatus(root).code(), StatusCode::kUnsupported);
}

TEST(TokenizerBuildTest, WhatIsNotJsonIsRefusedWithItsOffset) {
  const Status cut = BuildTokenizerFromJson(R"({"model": )", "t.json").status();
  EXPECT_EQ(cut.code(), StatusCode::kCorruptData);
  EXPECT_THAT(cut.message(), HasSubstr("t.json: offset 11: not JSON"));
  EXPECT_THAT(BuildTokenizerFromJson("[]", "t.json").status().message(), HasSubstr("wanted a JSON object, got array"));
  EXPECT_EQ(BuildTokenizerFromJson("", "t.json").status().code(), StatusCode::kCorruptData);
  EXPECT_EQ(BuildTokenizerFromJson("{\"a\": \"\xFF\"}", "t.json").status().code(), StatusCode::kCorruptData);
}

TEST(TokenizerBuildTest, DeepNestingIsRefused) {
  const std::string deep = "{\"a\":" + std::string(1 << 20, '[');
  EXPECT_THAT(BuildTokenizerFromJson(deep, "t.json").status().message(),
              HasSubstr("t.json: nested deeper than 32 levels"));
}

// With the parser's callback this took hours; no time is asserted, but the test's own limit would end it.
TEST(TokenizerBuildTest, AMillionObjectsAreReadInLinearTime) {
  std::string text = R"({"added_tokens":[{})";
  for (int i = 0; i < 1'000'000; ++i) text += ",{}";
  const Status status = BuildTokenizerFromJson(text + "]}", "t.json").status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported) << status.message();
}

TEST(TokenizerBuildTest, OfTwoMergesOfOnePairTheLaterCounts) {
  json root = SmallJson();
  root["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"ab", 2}, {"ba", 4}};
  root["model"]["merges"] = {"a b", "b a", "a b"};
  const OwnedTokenizer owned(BuildTokenizerFromJson(root.dump(), "t.json"));
  EXPECT_THAT(owned.Encode("aba"), ElementsAre(0, 4));
}

TEST(Gpt2FilesTest, LinesOfMergesAreReadWithAndWithoutVersion) {
  for (const char* merges : {"#version: 0.2\na b\n", "a b", "a b\r\n\n"}) {
    const OwnedTokenizer owned(
        BuildTokenizerFromVocabAndMerges({.vocab_json = R"({"a":0,"b":1,"ab":2})", .merges_txt = merges}, "f"));
    EXPECT_THAT(owned.Encode("aab"), ElementsAre(0, 2)) << merges;
  }
  const Status status =
      BuildTokenizerFromVocabAndMerges({.vocab_json = R"({"a":0})", .merges_txt = "#version: 0.2\na\n"}, "f").status();
  EXPECT_EQ(status.code(), StatusCode::kCorruptData);
  EXPECT_THAT(status.message(), HasSubstr("f/merges.txt: line 2: wanted two tokens, got 'a'"));
}

TEST(Gpt2FilesTest, SpecialTokensComeFromTheirMapAsTextOrObject) {
  const OwnedTokenizer owned(BuildTokenizerFromVocabAndMerges(
      {.vocab_json = R"({"a":0,"</s>":1,"<pad>":2,"<":4,"p":5,"d":6,">":7})",
       .merges_txt = "",
       .special_tokens_map_json = R"({"eos_token": {"content": "</s>", "lstrip": false, "normalized": true,
                                      "rstrip": true, "single_word": false},
                                      "pad_token": "<pad>", "additional_special_tokens": ["<x>"]})",
       .added_tokens_json = R"({"<x>": 8, "<y>": 9})"},
      "f"));
  EXPECT_THAT(owned.Encode("a</s>  <pad><x><y>"), ElementsAre(0, 1, 2, 8, 9));
  EXPECT_TRUE(owned.tokenizer.IsSpecial(1));
  EXPECT_TRUE(owned.tokenizer.IsSpecial(2));
  EXPECT_TRUE(owned.tokenizer.IsSpecial(8));
  EXPECT_FALSE(owned.tokenizer.IsSpecial(9));
  EXPECT_THAT(owned.Encode("<pad>", false), ElementsAre(4, 5, 0, 6, 7));
}

TEST(Gpt2FilesTest, ASpecialTokenWithoutAnIdIsRefused) {
  const Status status = BuildTokenizerFromVocabAndMerges(
                            {.vocab_json = R"({"a":0})", .special_tokens_map_json = R"({"eos_token": "</s>"})"}, "f")
                            .status();
  EXPECT_EQ(status.code(), StatusCode::kCorruptData);
  EXPECT_THAT(status.message(), HasSubstr("f/special_tokens_map.json: eos_token: '</s>' has no id"));
}

TEST(Gpt2FilesTest, PrefixSpaceAndAddedTokensComeFromTheConfig) {
  const OwnedTokenizer owned(BuildTokenizerFromVocabAndMerges(
      {.vocab_json = R"({"a":0,"\u0120":1})",
       .tokenizer_config_json =
           R"({"add_prefix_space": true, "added_tokens_decoder": {"2": {"content": "<z>", "special": true}}})"},
      "f"));
  EXPECT_THAT(owned.Encode("a<z>a"), ElementsAre(1, 0, 2, 1, 0));
}

class TokenizerFolderTest : public testing::Test {
 protected:
  void Write(const std::string& name, std::string_view content) {
    std::ofstream(folder_.Path(name), std::ios::binary) << content;
  }
  TempDir folder_;
  bool found_ = false;
};

TEST_F(TokenizerFolderTest, AFolderWithoutATokenizerIsNotFound) {
  found_ = true;
  const Result<std::vector<std::byte>> built = BuildTokenizerFromFolder(folder_.path(), &found_);
  ASSERT_TRUE(built.ok());
  EXPECT_FALSE(found_);
  EXPECT_TRUE(built->empty());
}

TEST_F(TokenizerFolderTest, TokenizerJsonIsPreferred) {
  Write("tokenizer.json", SmallJson().dump());
  Write("vocab.json", "not read");
  const OwnedTokenizer owned(BuildTokenizerFromFolder(folder_.path(), &found_));
  EXPECT_TRUE(found_);
  EXPECT_EQ(owned.tokenizer.vocab_size(), 4u);
}

TEST_F(TokenizerFolderTest, TheIncludedModelWithoutTokenizerJsonGivesTheSameSection) {
  for (const char* name : {"vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"}) {
    Write(name, TalesFile(name));
  }
  const Result<std::vector<std::byte>> pair = BuildTokenizerFromFolder(folder_.path(), &found_);
  ASSERT_TRUE(pair.ok()) << pair.status().message();
  EXPECT_EQ(*pair, BuildTokenizerFromJson(TalesFile("tokenizer.json"), "t.json").value());
}

TEST_F(TokenizerFolderTest, HalfOfAPairIsAnErrorThatNamesTheOther) {
  Write("vocab.json", R"({"a":0})");
  const Status status = BuildTokenizerFromFolder(folder_.path(), &found_).status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("merges.txt"));
}

TEST_F(TokenizerFolderTest, AHugeFileIsRefusedUnread) {
  Write("tokenizer.json", "{");
  std::filesystem::resize_file(folder_.Path("tokenizer.json"), uint64_t{1} << 32);
  const Status status = BuildTokenizerFromFolder(folder_.path(), &found_).status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("got 4294967296"));
}

TEST_F(TokenizerFolderTest, ALinkThatLeadsNowhereIsAnErrorNotAModelWithoutATokenizer) {
  for (const char* name : {"tokenizer.json", "vocab.json", "special_tokens_map.json"}) {
    const bool optional = std::string_view(name) == "special_tokens_map.json";
    if (optional) {
      Write("vocab.json", R"({"a":0})");
      Write("merges.txt", "");
    }
    std::filesystem::create_symlink("nowhere", folder_.Path(name));
    const Status status = BuildTokenizerFromFolder(folder_.path(), &found_).status();
    EXPECT_EQ(status.code(), StatusCode::kNotFound);
    EXPECT_THAT(status.message(), HasSubstr(name));
    std::filesystem::remove(folder_.Path(name));
  }
}

TEST_F(TokenizerFolderTest, AFolderInTheFilesPlaceIsRefused) {
  std::filesystem::create_directory(folder_.Path("tokenizer.json"));
  const Status status = BuildTokenizerFromFolder(folder_.path(), &found_).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace glint::test
