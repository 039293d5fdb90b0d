#include "tokenizer/utf8.h"

namespace glint {

Utf8Character DecodeUtf8(std::string_view text) {
  using Kind = Utf8Character::Kind;
  const auto byte_at = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte_at(0);
  if (first < 0x80) return {Kind::kValid, first, 1};
  if (first < 0xC2 || first > 0xF4) return {Kind::kInvalid, 0, 1};
  const uint32_t bytes = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  // The second byte's range is narrower after some first bytes: that shuts out overlong forms, surrogates and
  // what lies beyond U+10FFFF (Unicode, table 3-7).
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (first == 0xE0) low = 0xA0;
  if (first == 0xED) high = 0x9F;
  if (first == 0xF0) low = 0x90;
  if (first == 0xF4) high = 0x8F;
  uint32_t code_point = first & (0x7Fu >> bytes);
  for (uint32_t i = 1; i < bytes; ++i) {
    if (i == text.size()) return {Kind::kTruncated, 0, i};
    const uint8_t byte = byte_at(i);
    if (byte < low || byte > high) return {Kind::kInvalid, 0, i};
    code_point = (code_point << 6) | (byte & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {Kind::kValid, code_point, bytes};
}

void AppendUtf8(uint32_t code_point, std::string* text) {
  const auto append = [text](uint32_t byte) { text->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    append(code_point);
  } else if (code_point < 0x800) {
    append(0xC0 | (code_point >> 6));
    append(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    append(0xE0 | (code_point >> 12));
    append(0x80 | ((code_point >> 6) & 0x3F));
    append(0x80 | (code_point & 0x3F));
  } else {
    append(0xF0 | (code_point >> 18));
    append(0x80 | ((code_point >> 12) & 0x3F));
    append(0x80 | ((code_point >> 6) & 0x3F));
    append(0x80 | (code_point & 0x3F));
  }
}

}  // namespace glint
