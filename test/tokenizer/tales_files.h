// The included model's tokenizer files, for these tests.
#ifndef GLINT_TEST_TOKENIZER_TALES_FILES_H_
#define GLINT_TEST_TOKENIZER_TALES_FILES_H_

#include <cstddef>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "glint/base/check.h"
#include "tokenizer/tokenizer.h"

namespace glint::test {

inline std::string ReadTestFile(const std::string& name) {
  std::ifstream file(std::string(GLINT_TEST_DATA) + "/" + name, std::ios::binary);
  GLINT_CHECK(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline std::string TalesFile(const std::string& name) { return ReadTestFile("models/tales-opt/" + name); }

// A section and the tokenizer that looks into it.
struct OwnedTokenizer {
  explicit OwnedTokenizer(Result<std::vector<std::byte>> built)
      : section(std::move(built).value()), tokenizer(Tokenizer::Open(section, "test").value()) {}

  std::vector<TokenId> Encode(std::string_view text, bool parse_special = true) const {
    std::vector<TokenId> ids;
    GLINT_CHECK(tokenizer.Encode(text, parse_special, &ids).ok());
    return ids;
  }

  std::vector<std::byte> section;
  Tokenizer tokenizer;
};

}  // namespace glint::test

#endif  // GLINT_TEST_TOKENIZER_TALES_FILES_H_
