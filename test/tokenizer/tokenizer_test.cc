#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "test/tokenizer/tales_files.h"

namespace glint::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

OwnedTokenizer Tales() { return OwnedTokenizer(BuildTokenizerFromJson(TalesFile("tokenizer.json"), "tokenizer.json")); }

// Random bytes; of several kinds, so that characters, cut characters and runs all occur.
std::string RandomBytes(std::mt19937* random) {
  std::string bytes((*random)() % 200, '\0');
  const auto kind = (*random)() % 3;
  for (char& c : bytes) {
    const uint32_t byte = kind == 0   ? (*random)()
                          : kind == 1 ? 0x80 + (*random)() % 0x80
                                      : " '\xC2\xA0\xE2\x80st<>/"[(*random)() % 12];
    c = static_cast<char>(byte);
  }
  return bytes;
}

TEST(TokenizerTest, AnyBytesRoundTrip) {
  const OwnedTokenizer tales = Tales();
  const OwnedTokenizer bytes_only{BuildByteTokenizer()};
  std::mt19937 random(11);
  for (int i = 0; i < 5000; ++i) {
    const std::string bytes = RandomBytes(&random);
    for (const bool parse_special : {true, false}) {
      ASSERT_EQ(tales.tokenizer.Decode(tales.Encode(bytes, parse_special), true), bytes);
      ASSERT_EQ(bytes_only.tokenizer.Decode(bytes_only.Encode(bytes, parse_special), true), bytes);
    }
  }
}

// Encodes `text` as one does who reads `read_bytes` at a time; adds the number of parts to `*parts`.
std::vector<TokenId> EncodeInParts(const Tokenizer& tokenizer, std::string_view text, size_t read_bytes,
                                   size_t* parts) {
  std::vector<TokenId> ids;
  std::string held;
  while (true) {
    held += text.substr(0, read_bytes);
    text.remove_prefix(std::min(read_bytes, text.size()));
    const size_t ready = text.empty() ? held.size() : tokenizer.SeparableBytes(held, /*parse_special=*/false);
    GLINT_CHECK(tokenizer.Encode(std::string_view(held).substr(0, ready), /*parse_special=*/false, &ids).ok());
    held.erase(0, ready);
    *parts += ready > 0 ? 1 : 0;
    if (text.empty()) return ids;
  }
}

OwnedTokenizer TalesWith(const char* key, nlohmann::json value) {
  nlohmann::json root = nlohmann::json::parse(TalesFile("tokenizer.json"));
  root[nlohmann::json::json_pointer(key)] = std::move(value);
  return OwnedTokenizer(BuildTokenizerFromJson(root.dump(), "tokenizer.json"));
}

nlohmann::json AddedToken(const char* content, bool rstrip) {
  return {{"id", 4096},       {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", rstrip}, {"normalized", false}, {"special", false}};
}

TEST(TokenizerTest, TextEncodedInPartsGivesTheIdsOfTheWhole) {
  std::vector<OwnedTokenizer> tokenizers;
  tokenizers.push_back(Tales());
  tokenizers.push_back(TalesWith("/pre_tokenizer/add_prefix_space", true));
  tokenizers.push_back(OwnedTokenizer{BuildByteTokenizer()});
  std::mt19937 random(12);
  size_t parts = 0;
  const std::vector<std::string> pieces = {"Once", "it's", " ", "  ", "\n",       "\n\n",         ", ", "7",
                                           "</s>", "\t",   "'", "s",  "\xC2\xA0", "\xE3\x80\x80", "é",  "\xE3"};
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (int j = 0; j < 60; ++j) text += pieces[random() % pieces.size()];
    for (const OwnedTokenizer& owned : tokenizers) {
      const auto ids = EncodeInParts(owned.tokenizer, text, 1 + random() % 40, &parts);
      ASSERT_EQ(ids, owned.Encode(text, /*parse_special=*/false)) << testing::PrintToString(text);
    }
  }
  EXPECT_GT(parts, 3U * 2000 * 4);
}

TEST(TokenizerTest, TextIsNotPartedWhereAddedTokensHoldSpaces) {
  const std::string text = "Once upon a time";
  EXPECT_EQ(Tales().tokenizer.SeparableBytes(text, false), text.rfind(' '));
  for (const auto& added : {AddedToken("upon a", false), AddedToken("[upon]", true)}) {
    nlohmann::json root = nlohmann::json::parse(TalesFile("tokenizer.json"));
    nlohmann::json all = root["added_tokens"];
    all.push_back(added);
    EXPECT_EQ(TalesWith("/added_tokens", all).tokenizer.SeparableBytes(text, false), 0U) << added;
  }
}

TEST(TokenizerTest, SpecialTokensArePlainTextUnlessParsed) {
  const OwnedTokenizer tales = Tales();
  EXPECT_THAT(tales.Encode("</s>", true), ElementsAre(2));
  const std::vector<TokenId> plain = tales.Encode("</s>", false);
  EXPECT_GT(plain.size(), 1u);
  for (const TokenId id : plain) EXPECT_FALSE(tales.tokenizer.IsSpecial(id));
  EXPECT_EQ(tales.tokenizer.Decode(plain, false), "</s>");
}

TEST(TokenizerTest, DecodeLeavesSpecialTokensOutUnlessAsked) {
  const OwnedTokenizer tales = Tales();
  const std::vector<TokenId> ids = tales.Encode("<s>Once</s>");
  EXPECT_EQ(tales.tokenizer.Decode(ids, false), "Once");
  EXPECT_EQ(tales.tokenizer.Decode(ids, true), "<s>Once</s>");
}

TEST(TokenizerTest, IdsOutsideTheVocabularyHaveNoBytes) {
  const OwnedTokenizer tales = Tales();
  EXPECT_EQ(tales.tokenizer.vocab_size(), 4096u);
  EXPECT_NE(tales.tokenizer.TokenBytes(4095), "");
  for (const TokenId id : {-1, 4096, 2147483647, -2147483647}) {
    EXPECT_EQ(tales.tokenizer.TokenBytes(id), "");
    EXPECT_FALSE(tales.tokenizer.IsSpecial(id));
  }
}

TEST(TokenizerTest, ByteTokenizerGivesOneIdPerByte) {
  const OwnedTokenizer owned{BuildByteTokenizer()};
  EXPECT_EQ(owned.tokenizer.vocab_size(), 260u);
  EXPECT_THAT(owned.Encode(std::string_view("\0a\xFF", 3)), ElementsAre(4, 4 + 'a', 4 + 255));
  EXPECT_THAT(owned.Encode("<s>a</s><pad><unk>"), ElementsAre(0, 4 + 'a', 2, 1, 3));
  EXPECT_TRUE(owned.tokenizer.IsSpecial(2));
  EXPECT_FALSE(owned.tokenizer.IsSpecial(4));
}

// Merging that looks at the whole word for each merge would take 10^10 steps on these; the test's time limit fails it.
TEST(TokenizerTest, TheLongestWordIsEncodedInNearlyLinearTime) {
  const OwnedTokenizer tales = Tales();
  constexpr size_t kBytes = kWordBytesMax - 8;
  for (const std::string_view unit : {"a", " ", "\n", "<", "the", "\xE2\x80\xA8", "\xFF", "'s", "1", "<s"}) {
    std::string text;
    while (text.size() < kBytes) text += unit;
    const std::vector<TokenId> ids = tales.Encode(text);
    EXPECT_EQ(tales.tokenizer.Decode(ids, true), text) << unit;
  }
}

TEST(TokenizerTest, AWordBeyondTheLimitIsRefusedSoThatItsScratchIsBounded) {
  const OwnedTokenizer tales = Tales();
  std::vector<TokenId> ids;
  const Status status = tales.tokenizer.Encode("well " + std::string(kWordBytesMax + 1, 'a'), true, &ids);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("without a break"));
  EXPECT_TRUE(ids.empty());
  EXPECT_TRUE(tales.tokenizer.Encode(std::string(kWordBytesMax, 'a') + " " + std::string(9, 'a'), true, &ids).ok());
}

TEST(TokenizerTest, AByteWithoutATokenIsNamedAndLeavesTheIdsAlone) {
  const OwnedTokenizer owned(BuildTokenizerFromJson(
      R"({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
          "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}})",
      "two.json"));
  std::vector<TokenId> ids = {7};
  const Status status = owned.tokenizer.Encode("ab c", true, &ids);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("byte 32"));
  EXPECT_THAT(ids, ElementsAre(7));
}

TEST(TokenizerTest, EncodeAppends) {
  const OwnedTokenizer tales = Tales();
  std::vector<TokenId> ids = {2};
  ASSERT_TRUE(tales.tokenizer.Encode("<unk>", true, &ids).ok());
  EXPECT_THAT(ids, ElementsAre(2, 3));
}

// A later merge whose result a stale entry of the queue also names: the order of ranks decides, not of pushing.
TEST(TokenizerTest, TheLeastRankMergesFirstAndOfEqualOnesTheLeftmost) {
  const OwnedTokenizer owned(BuildTokenizerFromJson(
      R"({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
          "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "ba": 3, "aa": 4, "aab": 5},
                    "merges": ["a b", "a a", "a ab", "b a"]}})",
      "small.json"));
  EXPECT_THAT(owned.Encode("aab"), ElementsAre(5));
  EXPECT_THAT(owned.Encode("aaa"), ElementsAre(4, 0));
  EXPECT_THAT(owned.Encode("baba"), ElementsAre(1, 2, 0));
  EXPECT_THAT(owned.Encode("bba"), ElementsAre(1, 3));
}

}  // namespace
}  // namespace glint::test
