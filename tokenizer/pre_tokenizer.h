// Cuts text into words before BPE, as GPT-2 does:
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// \s is Unicode's White_Space; categories are utf8proc's (Unicode 15 in utf8proc 2.8). A byte that is not part of valid
// UTF-8 counts as neither space, letter nor number.
#ifndef GLINT_TOKENIZER_PRE_TOKENIZER_H_
#define GLINT_TOKENIZER_PRE_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace glint {

// Returns the bytes of the first word of `text`: at least 1, in time proportional to the result. REQUIRES: text is not
// empty, and begins where a word does.
size_t FirstWordBytes(std::string_view text);

bool IsWhiteSpace(uint32_t code_point);

}  // namespace glint

#endif  // GLINT_TOKENIZER_PRE_TOKENIZER_H_
