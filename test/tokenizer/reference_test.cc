// Ids against those of Hugging Face's tokenizers library (make_reference.py).
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "test/tokenizer/tales_files.h"

namespace glint::test {
namespace {

using nlohmann::json;

struct ReferenceCase {
  std::string text;
  std::vector<TokenId> ids;
};

std::vector<ReferenceCase> ReadReference() {
  const std::string file = ReadTestFile("tokenizer/tokenizer_reference.bin");
  size_t offset = 0;
  const auto take = [&](size_t bytes) {
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; ++i) value |= uint32_t{static_cast<uint8_t>(file.at(offset++))} << (8 * i);
    return value;
  };
  std::vector<ReferenceCase> cases(take(4));
  for (ReferenceCase& reference : cases) {
    const uint32_t text_bytes = take(2);
    const uint32_t id_count = take(2);
    reference.text = file.substr(offset, text_bytes);
    offset += text_bytes;
    for (uint32_t i = 0; i < id_count; ++i) reference.ids.push_back(static_cast<TokenId>(take(2)));
  }
  EXPECT_EQ(offset, file.size());
  return cases;
}

void ExpectReferenceIds(const OwnedTokenizer& owned) {
  const std::vector<ReferenceCase> cases = ReadReference();
  ASSERT_EQ(cases.size(), 10'000u);
  for (const ReferenceCase& reference : cases) {
    const std::vector<TokenId> ids = owned.Encode(reference.text);
    ASSERT_EQ(ids, reference.ids) << json(reference.text).dump(-1, ' ', true);
    ASSERT_EQ(owned.tokenizer.Decode(ids, /*with_special=*/true), reference.text);
  }
}

TEST(TokenizerReferenceTest, TokenizerJsonGivesTheReferenceIds) {
  ExpectReferenceIds(OwnedTokenizer(BuildTokenizerFromJson(TalesFile("tokenizer.json"), "tokenizer.json")));
}

TEST(TokenizerReferenceTest, MergesAsPairsGiveTheReferenceIds) {
  json root = json::parse(TalesFile("tokenizer.json"));
  for (json& merge : root["model"]["merges"]) {
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = text.find(' ');
    ASSERT_NE(space, std::string::npos);
    merge = {text.substr(0, space), text.substr(space + 1)};
  }
  ExpectReferenceIds(OwnedTokenizer(BuildTokenizerFromJson(root.dump(), "tokenizer.json")));
}

TEST(TokenizerReferenceTest, VocabAndMergesGiveTheReferenceIds) {
  const std::string vocab = TalesFile("vocab.json");
  const std::string merges = TalesFile("merges.txt");
  const std::string special = TalesFile("special_tokens_map.json");
  const std::string config = TalesFile("tokenizer_config.json");
  ExpectReferenceIds(OwnedTokenizer(BuildTokenizerFromVocabAndMerges({.vocab_json = vocab,
                                                                      .merges_txt = merges,
                                                                      .special_tokens_map_json = special,
                                                                      .added_tokens_json = {},
                                                                      .tokenizer_config_json = config},
                                                                     "tales-opt")));
}

TEST(TokenizerReferenceTest, GoldensOfTheModelHold) {
  const OwnedTokenizer owned(BuildTokenizerFromJson(TalesFile("tokenizer.json"), "tokenizer.json"));
  const json goldens = json::parse(TalesFile("goldens/tokenizer_goldens.json"));
  ASSERT_EQ(goldens["cases"].size(), 43u);
  for (const json& golden : goldens["cases"]) {
    const std::vector<TokenId> ids = owned.Encode(golden["text"].get<std::string>());
    EXPECT_EQ(ids, golden["ids"].get<std::vector<TokenId>>()) << golden["text"].dump(-1, ' ', true);
    ASSERT_EQ(ids.size(), golden["tokens"].size());
  }
}

TEST(TokenizerReferenceTest, AddedTokensAndPrefixSpaceBehaveAsInTheReference) {
  const json base = json::parse(TalesFile("tokenizer.json"));
  const json variants = json::parse(ReadTestFile("tokenizer/tokenizer_variants.json"));
  ASSERT_EQ(variants.size(), 10u);
  for (const json& variant : variants) {
    json root = base;
    root.merge_patch(variant["patch"]);
    const OwnedTokenizer owned(BuildTokenizerFromJson(root.dump(), "tokenizer.json"));
    const bool parse_special = variant["parse_special"].get<bool>();
    for (const json& reference : variant["cases"]) {
      EXPECT_EQ(owned.Encode(reference["text"].get<std::string>(), parse_special),
                reference["ids"].get<std::vector<TokenId>>())
          << variant["name"] << ", parse_special " << parse_special << ", " << reference["text"].dump(-1, ' ', true);
    }
  }
}

}  // namespace
}  // namespace glint::test
