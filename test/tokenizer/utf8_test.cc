#include "tokenizer/utf8.h"

#include <gtest/gtest.h>

#include <random>

#include "tokenizer/tokenizer.h"

namespace glint {
namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";

TEST(Utf8Test, EveryCodePointComesBack) {
  for (uint32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    if (code_point >= 0xD800 && code_point < 0xE000) continue;
    std::string text;
    AppendUtf8(code_point, &text);
    const Utf8Character character = DecodeUtf8(text + "x");
    ASSERT_EQ(character.kind, Utf8Character::Kind::kValid);
    ASSERT_EQ(character.code_point, code_point);
    ASSERT_EQ(character.bytes, text.size());
  }
}

TEST(Utf8Test, SurrogatesOverlongFormsAndTooLargeAreInvalid) {
  for (const char* text : {"\xED\xA0\x80", "\xED\xBF\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF",
                           "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80", "\xFF"}) {
    EXPECT_EQ(DecodeUtf8(text).kind, Utf8Character::Kind::kInvalid) << testing::PrintToString(std::string(text));
    EXPECT_EQ(DecodeUtf8(text).bytes, 1u);
  }
}

TEST(Utf8StreamTest, SplitCharactersComeOutWhole) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("a\xF0"), "a");
  EXPECT_EQ(stream.Push("\x9F"), "");
  EXPECT_EQ(stream.Push("\x98"), "");
  EXPECT_EQ(stream.Push("\x80z"), "\xF0\x9F\x98\x80z");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(Utf8StreamTest, WhatCanNeverBecomeACharacterIsReplaced) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("\xFF"), kReplacement);
  EXPECT_EQ(stream.Push("\xE2\x82"), "");
  EXPECT_EQ(stream.Push("x"), std::string(kReplacement) + "x");
  EXPECT_EQ(stream.Push("\xE2\x82"), "");
  EXPECT_EQ(stream.Finish(), kReplacement);
  EXPECT_EQ(stream.Finish(), "");
}

TEST(Utf8StreamTest, AnyCutGivesTheSameText) {
  std::mt19937 random(7);
  std::string bytes;
  for (int i = 0; i < 5000; ++i) {
    if (random() % 3 == 0) {
      bytes.push_back(static_cast<char>(random()));
    } else {
      AppendUtf8(random() % 0xD800, &bytes);
    }
  }
  Utf8Stream whole;
  std::string wanted = whole.Push(bytes);
  wanted += whole.Finish();
  for (int round = 0; round < 20; ++round) {
    Utf8Stream stream;
    std::string shown;
    for (size_t begin = 0; begin < bytes.size();) {
      const size_t count = std::min<size_t>(1 + random() % 5, bytes.size() - begin);
      const std::string now = stream.Push(std::string_view(bytes).substr(begin, count));
      for (std::string_view rest = now; !rest.empty(); rest.remove_prefix(DecodeUtf8(rest).bytes)) {
        ASSERT_EQ(DecodeUtf8(rest).kind, Utf8Character::Kind::kValid);
      }
      shown += now;
      begin += count;
    }
    ASSERT_EQ(shown + stream.Finish(), wanted);
  }
}

}  // namespace
}  // namespace glint
