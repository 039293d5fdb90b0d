// GPT-2 spells each byte as one printable character, so that vocabularies are text: byte 0x20 is 'Ġ' (U+0120).
#ifndef GLINT_TOKENIZER_BYTE_ALPHABET_H_
#define GLINT_TOKENIZER_BYTE_ALPHABET_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace glint {

// Returns the character that stands for `byte`, in UTF-8.
std::string SpellByte(uint8_t byte);

// Returns the bytes that `spelling` stands for; `spelling` itself where a character of it stands for no byte (as the
// tokenizers library's decoder does).
std::string UnspellBytes(std::string_view spelling);

}  // namespace glint

#endif  // GLINT_TOKENIZER_BYTE_ALPHABET_H_
