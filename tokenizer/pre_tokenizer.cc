#include "tokenizer/pre_tokenizer.h"

#include <utf8proc.h>

#include <array>

#include "tokenizer/utf8.h"

namespace glint {
namespace {

enum class CharacterClass { kSpace, kLetter, kNumber, kOther };

CharacterClass Classify(const Utf8Character& character) {
  if (character.kind != Utf8Character::Kind::kValid) return CharacterClass::kOther;
  const uint32_t c = character.code_point;
  if (c < 0x80) {
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') return CharacterClass::kLetter;
    if (c >= '0' && c <= '9') return CharacterClass::kNumber;
    return IsWhiteSpace(c) ? CharacterClass::kSpace : CharacterClass::kOther;
  }
  if (IsWhiteSpace(c)) return CharacterClass::kSpace;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return CharacterClass::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return CharacterClass::kNumber;
    default: return CharacterClass::kOther;
  }
}

// Returns the bytes of the run of characters of class `wanted` at the start of `text`.
size_t RunBytes(std::string_view text, CharacterClass wanted) {
  size_t bytes = 0;
  while (bytes < text.size()) {
    const Utf8Character character = DecodeUtf8(text.substr(bytes));
    if (Classify(character) != wanted) break;
    bytes += character.bytes;
  }
  return bytes;
}

size_t WhiteSpaceBytes(std::string_view text) {
  size_t bytes = 0;
  size_t last_bytes = 0;
  while (bytes < text.size()) {
    const Utf8Character character = DecodeUtf8(text.substr(bytes));
    if (Classify(character) != CharacterClass::kSpace) break;
    last_bytes = character.bytes;
    bytes += character.bytes;
  }
  // \s+(?!\S) leaves the last space to the word behind the run; a run of one falls to the \s+ after it.
  if (bytes == text.size() || bytes == last_bytes) return bytes;
  return bytes - last_bytes;
}

size_t ContractionBytes(std::string_view text) {
  constexpr std::array<std::string_view, 7> kContractions = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  for (const std::string_view contraction : kContractions) {
    if (text.starts_with(contraction)) return contraction.size();
  }
  return 0;
}

}  // namespace

bool IsWhiteSpace(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t FirstWordBytes(std::string_view text) {
  if (const size_t bytes = ContractionBytes(text); bytes > 0) return bytes;
  const size_t space_bytes = text.front() == ' ' ? 1 : 0;
  if (space_bytes == text.size()) return space_bytes;
  const CharacterClass first = Classify(DecodeUtf8(text.substr(space_bytes)));
  if (first == CharacterClass::kSpace) return WhiteSpaceBytes(text);
  return space_bytes + RunBytes(text.substr(space_bytes), first);
}

}  // namespace glint
