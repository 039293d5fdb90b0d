#include "tokenizer/byte_alphabet.h"

#include <array>

#include "tokenizer/utf8.h"

namespace glint {
namespace {

constexpr uint32_t kNoByte = 0x100;

struct Alphabet {
  std::array<uint32_t, 256> code_point_of_byte{};
  std::array<uint32_t, 0x144> byte_of_code_point{};  // kNoByte where a code point stands for none
};

// Printable Latin-1 stands for itself; the other 68 bytes, ascending, are U+0100 and up.
constexpr Alphabet MakeAlphabet() {
  Alphabet alphabet;
  alphabet.byte_of_code_point.fill(kNoByte);
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
    const uint32_t code_point = printable ? byte : next++;
    alphabet.code_point_of_byte[byte] = code_point;
    alphabet.byte_of_code_point[code_point] = byte;
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

std::string SpellByte(uint8_t byte) {
  std::string spelling;
  AppendUtf8(kAlphabet.code_point_of_byte[byte], &spelling);
  return spelling;
}

std::string UnspellBytes(std::string_view spelling) {
  std::string bytes;
  std::string_view rest = spelling;
  while (!rest.empty()) {
    const Utf8Character character = DecodeUtf8(rest);
    if (character.kind != Utf8Character::Kind::kValid || character.code_point >= kAlphabet.byte_of_code_point.size() ||
        kAlphabet.byte_of_code_point[character.code_point] == kNoByte) {
      return std::string(spelling);
    }
    bytes.push_back(static_cast<char>(kAlphabet.byte_of_code_point[character.code_point]));
    rest.remove_prefix(character.bytes);
  }
  return bytes;
}

}  // namespace glint
