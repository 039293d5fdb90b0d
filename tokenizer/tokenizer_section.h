// The tokenizer as stored in a model file (FORMAT.md, "Tokenizer section") and lookups straight into those bytes.
#ifndef GLINT_TOKENIZER_TOKENIZER_SECTION_H_
#define GLINT_TOKENIZER_TOKENIZER_SECTION_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "glint/base/status.h"

namespace glint {

inline constexpr uint32_t kTokenizerMagic = 0x4B544C47;  // "GLTK"
inline constexpr uint32_t kTokenizerVersion = 1;
inline constexpr uint32_t kTokenizerHeaderBytes = 32;
inline constexpr uint32_t kTokenizerVocabMax = 1'000'000;
inline constexpr uint32_t kTokenizerMergesMax = 1'000'000;
inline constexpr uint32_t kTokenBytesMax = 1024;      // of one token
inline constexpr uint32_t kTokenNone = 0xFFFFFFFF;    // in the table of bytes
inline constexpr uint32_t kTokenizerPrefixSpace = 1;  // header flag: text that does not begin with a space gets one
inline constexpr uint32_t kAddedStripsLeft = 1;       // flags of an added token: white space beside it belongs to it
inline constexpr uint32_t kAddedStripsRight = 2;
inline constexpr uint32_t kTokenSpecial = 1;  // flag of a token

// The header's numbers after magic and version, in order.
struct TokenizerCounts {
  uint32_t vocab_size = 0;
  uint32_t merge_count = 0;
  uint32_t added_count = 0;
  uint32_t added_first_count = 0;  // of them, those matched before the others
  uint32_t text_bytes = 0;
  uint32_t flags = 0;
};

// Offsets in the section, in ascending order.
struct TokenizerLayout {
  explicit TokenizerLayout(const TokenizerCounts& counts);

  uint64_t byte_ids;     // u32 [256]: id of the token of one byte, or kTokenNone
  uint64_t token_begin;  // u32 [vocab_size + 1]: where a token's text begins in `text`
  uint64_t merge_begin;  // u32 [vocab_size + 1]: the first merge whose left part is this token
  uint64_t merges;       // {u32 right, rank, merged} [merge_count], by left, then right
  uint64_t added;        // {u32 id, flags} [added_count], each of the two groups by text
  uint64_t token_flags;  // u8 [vocab_size]
  uint64_t text;         // u8 [text_bytes]
  uint64_t end;
};

// A view; const after open, thread-safe. The bytes outlive it.
class TokenizerSection {
 public:
  struct Merge {
    uint32_t right;
    uint32_t rank;
    uint32_t merged;
  };
  struct Added {
    uint32_t id;
    uint32_t flags;
  };

  // Checks every count, offset and id, and that a merge's result is spelled as its parts: after that, no lookup below
  // reads outside the section and no text is lost in merging.
  static Result<TokenizerSection> Open(std::span<const std::byte> section, std::string_view file);

  uint32_t vocab_size() const { return counts_.vocab_size; }
  bool adds_prefix_space() const { return (counts_.flags & kTokenizerPrefixSpace) != 0; }
  // Returns the id of the token that is `byte` alone, or kTokenNone.
  uint32_t ByteId(uint8_t byte) const { return Load(layout_.byte_ids + 4 * uint64_t{byte}); }

  // The following REQUIRE: ids are below vocab_size().
  std::string_view Text(uint32_t id) const;
  bool IsSpecial(uint32_t id) const;
  // Returns whether the two tokens merge; then `*merge` says how.
  bool FindMerge(uint32_t left, uint32_t right, Merge* merge) const;
  // Returns whether an added token begins at the start of `text`; then `*added` is the longest. `first_group` chooses
  // among those matched first, else among the others.
  bool FindAdded(std::string_view text, bool first_group, Added* added) const;
  // Returns whether an added token has a space or a line break in its text, or takes in those behind it (of special
  // ones, only where they are parsed).
  bool AddedHoldSpaces(bool parse_special) const;

 private:
  TokenizerSection(const std::byte* data, const TokenizerCounts& counts)
      : data_(data), counts_(counts), layout_(counts) {}

  Status CheckTokens(std::string_view file) const;
  Status CheckMerges(std::string_view file) const;
  Status CheckAdded(std::string_view file) const;
  uint32_t Load(uint64_t offset) const;
  Merge LoadMerge(uint32_t index) const;
  Added LoadAdded(uint32_t index) const;

  const std::byte* data_;
  TokenizerCounts counts_;
  TokenizerLayout layout_;
};

}  // namespace glint

#endif  // GLINT_TOKENIZER_TOKENIZER_SECTION_H_
