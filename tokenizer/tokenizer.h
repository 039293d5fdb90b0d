// Byte-level BPE (GPT-2's) over a section of the model file that is used as stored: no tables are built at open.
#ifndef GLINT_TOKENIZER_TOKENIZER_H_
#define GLINT_TOKENIZER_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "glint/base/ids.h"
#include "glint/base/status.h"
#include "tokenizer/tokenizer_section.h"

namespace glint {

// Builds a section (little-endian, FORMAT.md) from Hugging Face's tokenizer.json. What it cannot do exactly (a
// normalizer, another pre-tokenizer or model) is kUnsupported, by name; malformed input is kCorruptData with the key.
Result<std::vector<std::byte>> BuildTokenizerFromJson(std::string_view tokenizer_json, std::string_view file);

// The contents of GPT-2's pair of files and of those that Hugging Face puts beside them; the last three may be empty.
struct Gpt2TokenizerFiles {
  std::string_view vocab_json;
  std::string_view merges_txt;
  std::string_view special_tokens_map_json;  // which tokens are special
  std::string_view added_tokens_json;        // tokens beyond the vocabulary and their ids
  std::string_view tokenizer_config_json;    // added_tokens_decoder and add_prefix_space are used
};
// The same from these. Errors name the file in `folder`.
Result<std::vector<std::byte>> BuildTokenizerFromVocabAndMerges(const Gpt2TokenizerFiles& files,
                                                                std::string_view folder);
// The same from a checkpoint's folder: tokenizer.json, else vocab.json and merges.txt. Where there is neither,
// `*found` is false and the section empty.
Result<std::vector<std::byte>> BuildTokenizerFromFolder(const std::string& folder, bool* found);
// 256 byte tokens after `<s> <pad> </s> <unk>`, no merges: for synthetic models.
std::vector<std::byte> BuildByteTokenizer();

// What merging one word may take is bounded: about 48 bytes of scratch for each of its bytes.
inline constexpr uint32_t kWordBytesMax = 128 * 1024;

// A view of a section. Const after open, thread-safe. The section outlives it.
class Tokenizer {
 public:
  // Checks every offset and id in the section, so that no later call can read outside it. Errors name `file` and
  // offset.
  static Result<Tokenizer> Open(std::span<const std::byte> section, std::string_view file);

  // Of the longest token's text. Looks at every token.
  uint32_t token_bytes_max() const;
  uint32_t vocab_size() const;  // ids are 0 .. vocab_size - 1; some may have no token

  // Appends the ids of `text` (any bytes; what is not UTF-8 still round-trips). With `parse_special`, special tokens in
  // the text are matched first, longest first, as Hugging Face's tokenizers do; without, they are plain text. Added
  // tokens that are not special are matched always. Adds no BOS. kInvalidArgument where a byte has no token; `ids` is
  // then as before, or where a word is longer than kWordBytesMax. Time is n log n in the longest word's length.
  Status Encode(std::string_view text, bool parse_special, std::vector<TokenId>* ids) const;
  // Returns where the longest part at the start of `text` ends that can be encoded before it is known what follows:
  // Encode of it, and then of the rest and all that follows, appends what Encode of the whole does. 0 where no such
  // place is found. For texts that are not held in memory whole.
  size_t SeparableBytes(std::string_view text, bool parse_special) const;

  // The bytes of one token (of a special one: its text). Empty for an id without a token.
  std::string_view TokenBytes(TokenId id) const;
  bool IsSpecial(TokenId id) const;
  // Concatenates the bytes; special tokens are left out unless `with_special`.
  std::string Decode(std::span<const TokenId> ids, bool with_special) const;

 private:
  explicit Tokenizer(const TokenizerSection& section) : section_(section) {}

  TokenizerSection section_;
};

// Passes on whole UTF-8 characters only: what a terminal can show while tokens split characters.
class Utf8Stream {
 public:
  // Returns what can be shown now; keeps up to 3 bytes back. Bytes that can never become a character come out as
  // U+FFFD.
  std::string Push(std::string_view bytes);
  std::string Finish();

 private:
  std::string pending_;
};

}  // namespace glint

#endif  // GLINT_TOKENIZER_TOKENIZER_H_
