#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "test/tokenizer/tales_files.h"
#include "tokenizer/tokenizer_section.h"

namespace glint::test {
namespace {

using testing::HasSubstr;

// Small enough that every byte can be damaged, with merges and added tokens of both groups.
std::vector<std::byte> SmallSection() {
  nlohmann::json root = nlohmann::json::parse(R"({
    "added_tokens": [{"id": 300, "content": "<s>", "special": true}, {"id": 302, "content": "<s>x", "special": false},
                     {"id": 303, "content": "yes", "special": false, "lstrip": true}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "model": {"type": "BPE", "vocab": {"ab": 256, "abc": 257}, "merges": ["a b", "ab c"]}})");
  nlohmann::json tales = nlohmann::json::parse(TalesFile("vocab.json"));
  for (uint32_t byte = 0; byte < 256; ++byte) {  // ids 4 to 259 of the included model are the bytes
    for (const auto& [spelling, id] : tales.items()) {
      if (id == byte + 4) root["model"]["vocab"][spelling] = byte;
    }
  }
  return BuildTokenizerFromJson(root.dump(), "small.json").value();
}

constexpr const char* kText = "<s>xab abc <s> yes ab\xFF 'abc'";

TEST(TokenizerSectionTest, EveryDamagedByteIsRefusedOrHarmless) {
  const std::vector<std::byte> whole = SmallSection();
  uint64_t refused = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const unsigned flip : {0x01u, 0x80u, 0xFFu}) {
      std::vector<std::byte> damaged = whole;
      damaged[i] ^= std::byte(flip);
      const Result<Tokenizer> opened = Tokenizer::Open(damaged, "x.glint");
      if (!opened.ok()) {
        ++refused;
        EXPECT_THAT(opened.status().message(), HasSubstr("x.glint: tokenizer section, offset "));
        continue;
      }
      std::vector<TokenId> ids;
      if (!opened->Encode(kText, true, &ids).ok()) continue;
      for (const TokenId id : ids) ASSERT_LT(static_cast<uint32_t>(id), opened->vocab_size());
    }
  }
  EXPECT_GT(refused, whole.size());
}

TEST(TokenizerSectionTest, EveryTruncationIsRefused) {
  const std::vector<std::byte> whole = SmallSection();
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(bytes));
    EXPECT_FALSE(Tokenizer::Open(cut, "x.glint").ok()) << bytes;
  }
  std::vector<std::byte> longer = whole;
  longer.push_back(std::byte{0});
  EXPECT_EQ(Tokenizer::Open(longer, "x.glint").status().code(), StatusCode::kCorruptData);
}

TEST(TokenizerSectionTest, AnotherVersionIsRefusedByNumber) {
  std::vector<std::byte> section = SmallSection();
  section[4] = std::byte{9};
  const Status status = Tokenizer::Open(section, "x.glint").status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("wanted version 1, got 9"));
}

TEST(TokenizerSectionTest, AnAddressThatIsNotAlignedServes) {
  const std::vector<std::byte> whole = SmallSection();
  std::vector<std::byte> shifted(1);
  shifted.insert(shifted.end(), whole.begin(), whole.end());
  const Result<Tokenizer> opened = Tokenizer::Open(std::span(shifted).subspan(1), "x.glint");
  ASSERT_TRUE(opened.ok());
  std::vector<TokenId> ids;
  ASSERT_TRUE(opened->Encode(kText, true, &ids).ok());
  EXPECT_EQ(opened->Decode(ids, true), "<s>xab abc <s>yes ab\xFF 'abc'");  // "yes" takes the space before it
}

TEST(TokenizerSectionTest, TheSameFilesGiveTheSameBytes) {
  const std::string json = TalesFile("tokenizer.json");
  EXPECT_EQ(BuildTokenizerFromJson(json, "a").value(), BuildTokenizerFromJson(json, "b").value());
}

TEST(TokenizerSectionTest, AVocabularyOfFiftyThousandTakesUnderOneAndAHalfMegabytes) {
  TokenizerCounts counts;
  counts.vocab_size = 50'272;
  counts.merge_count = 50'000;
  counts.added_count = 4;
  counts.text_bytes = 332'000;  // GPT-2's vocabulary: 6.6 bytes a token
  EXPECT_LT(TokenizerLayout(counts).end, 1'500'000u);
}

}  // namespace
}  // namespace glint::test
