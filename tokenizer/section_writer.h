// From the parts of a byte-level BPE tokenizer, as Hugging Face spells them, to the section of the model file.
#ifndef GLINT_TOKENIZER_SECTION_WRITER_H_
#define GLINT_TOKENIZER_SECTION_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "glint/base/status.h"

namespace glint {

// A token that is matched in the text before BPE.
struct AddedToken {
  uint32_t id = 0;
  std::string content;
  bool special = false;
  bool normalized = false;  // matched after those that are not: there is no normalizer
  bool strips_left = false;
  bool strips_right = false;
};

struct TokenizerParts {
  std::vector<std::pair<std::string, uint32_t>> vocab;      // spelling in GPT-2's byte alphabet, id
  std::vector<std::pair<std::string, std::string>> merges;  // spellings, by rank; of two alike the later counts
  std::vector<AddedToken> added;                            // may repeat tokens of the vocabulary, with the same id
  bool adds_prefix_space = false;
  // Where errors say they are.
  std::string vocab_key;
  std::string merges_key;
  std::string added_key;
};

// kCorruptData, with the key, for ids that are doubled or beyond the limit, and merges whose parts or result have no
// token; kUnsupported for tokens that are too long.
Result<std::vector<std::byte>> WriteTokenizerSection(const TokenizerParts& parts);

}  // namespace glint

#endif  // GLINT_TOKENIZER_SECTION_WRITER_H_
