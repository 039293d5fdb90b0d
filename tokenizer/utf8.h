// One UTF-8 character at a time, strictly: no surrogates, no overlong forms, nothing beyond U+10FFFF.
#ifndef GLINT_TOKENIZER_UTF8_H_
#define GLINT_TOKENIZER_UTF8_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace glint {

struct Utf8Character {
  enum class Kind { kValid, kInvalid, kTruncated };
  Kind kind;
  uint32_t code_point;  // 0 unless valid
  uint32_t bytes;       // 1 to 4; of what is invalid, the longest part that began well (Unicode 3.9, "maximal subpart")
};

// Returns the first character of `text`. Truncated: the text ends within a character that could still become valid.
// REQUIRES: text is not empty.
Utf8Character DecodeUtf8(std::string_view text);

// REQUIRES: code_point <= 0x10FFFF.
void AppendUtf8(uint32_t code_point, std::string* text);

}  // namespace glint

#endif  // GLINT_TOKENIZER_UTF8_H_
