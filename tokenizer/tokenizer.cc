#include "tokenizer/tokenizer.h"

#include <algorithm>

#include "glint/base/text.h"
#include "tokenizer/bpe_merger.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/utf8.h"

namespace glint {
namespace {

// Returns the bytes of white space at the start of `text`.
size_t LeadingSpaceBytes(std::string_view text) {
  size_t bytes = 0;
  while (bytes < text.size()) {
    const Utf8Character character = DecodeUtf8(text.substr(bytes));
    if (character.kind != Utf8Character::Kind::kValid || !IsWhiteSpace(character.code_point)) break;
    bytes += character.bytes;
  }
  return bytes;
}

// Returns the bytes of white space at the end of `text`.
size_t TrailingSpaceBytes(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while (begin > 0 && end - begin < 4 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
    const Utf8Character character = DecodeUtf8(text.substr(begin, end - begin));
    if (character.kind != Utf8Character::Kind::kValid || character.bytes != end - begin ||
        !IsWhiteSpace(character.code_point)) {
      break;
    }
    end = begin;
  }
  return text.size() - end;
}

// One call of Encode: text → pieces between added tokens (of the first group, then of the second) → words → ids.
class Encoder {
 public:
  Encoder(const TokenizerSection& section, bool parse_special, std::vector<TokenId>* ids)
      : section_(section), parse_special_(parse_special), ids_(ids), merger_(section) {}

  Status EncodeText(std::string_view text) { return SplitAtAdded(text, /*first_group=*/true); }

 private:
  Status SplitAtAdded(std::string_view text, bool first_group) {
    size_t piece = 0;  // where the text since the last added token begins
    size_t i = 0;
    while (i < text.size()) {
      TokenizerSection::Added added;
      if (!section_.FindAdded(text.substr(i), first_group, &added)) {
        ++i;
        continue;
      }
      size_t begin = i;
      i += section_.Text(added.id).size();
      if (section_.IsSpecial(added.id) && !parse_special_) continue;
      if ((added.flags & kAddedStripsLeft) != 0) begin -= TrailingSpaceBytes(text.substr(piece, begin - piece));
      if ((added.flags & kAddedStripsRight) != 0) i += LeadingSpaceBytes(text.substr(i));
      GLINT_RETURN_IF_ERROR(EncodePiece(text.substr(piece, begin - piece), first_group));
      ids_->push_back(static_cast<TokenId>(added.id));
      piece = i;
    }
    return EncodePiece(text.substr(piece), first_group);
  }

  Status EncodePiece(std::string_view piece, bool first_group) {
    if (piece.empty()) return Status::Ok();
    if (first_group) return SplitAtAdded(piece, /*first_group=*/false);
    if (!section_.adds_prefix_space() || piece.front() == ' ') return EncodeWords(piece);
    std::string spaced(1, ' ');
    spaced.append(piece);
    return EncodeWords(spaced);
  }

  Status EncodeWords(std::string_view text) {
    while (!text.empty()) {
      const size_t bytes = FirstWordBytes(text);
      if (bytes > kWordBytesMax) {
        return InvalidArgument(
            Concat("the text has ", bytes, " bytes without a break between words; the limit is ", kWordBytesMax));
      }
      GLINT_RETURN_IF_ERROR(merger_.Append(text.substr(0, bytes), ids_));
      text.remove_prefix(bytes);
    }
    return Status::Ok();
  }

  const TokenizerSection& section_;
  const bool parse_special_;
  std::vector<TokenId>* const ids_;
  BpeMerger merger_;
};

}  // namespace

Result<Tokenizer> Tokenizer::Open(std::span<const std::byte> section, std::string_view file) {
  GLINT_ASSIGN_OR_RETURN(const TokenizerSection opened, TokenizerSection::Open(section, file));
  return Tokenizer(opened);
}

uint32_t Tokenizer::vocab_size() const { return section_.vocab_size(); }

uint32_t Tokenizer::token_bytes_max() const {
  size_t longest = 0;
  for (uint32_t id = 0; id < vocab_size(); ++id) longest = std::max(longest, section_.Text(id).size());
  return static_cast<uint32_t>(longest);
}

Status Tokenizer::Encode(std::string_view text, bool parse_special, std::vector<TokenId>* ids) const {
  constexpr size_t kTextBytesMax = (size_t{1} << 31) - 2;  // with a space in front, positions stay in 31 bits
  if (text.size() > kTextBytesMax) {
    return InvalidArgument(Concat("text has ", text.size(), " bytes, the limit is ", kTextBytesMax));
  }
  const size_t ids_before = ids->size();
  Status status = Encoder(section_, parse_special, ids).EncodeText(text);
  if (!status.ok()) ids->resize(ids_before);
  return status;
}

// No word goes on from what is not white space into a space or a line break, and none begins before it and ends behind
// it. A piece that begins with a space gets no other one in front.
size_t Tokenizer::SeparableBytes(std::string_view text, bool parse_special) const {
  if (section_.AddedHoldSpaces(parse_special)) return 0;
  for (size_t end = text.size(); end-- > 1;) {
    const bool breaks = text[end] == ' ' || (text[end] == '\n' && !section_.adds_prefix_space());
    if (breaks && TrailingSpaceBytes(text.substr(0, end)) == 0) return end;
  }
  return 0;
}

std::string_view Tokenizer::TokenBytes(TokenId id) const {
  if (id < 0 || static_cast<uint32_t>(id) >= vocab_size()) return {};
  return section_.Text(static_cast<uint32_t>(id));
}

bool Tokenizer::IsSpecial(TokenId id) const {
  return id >= 0 && static_cast<uint32_t>(id) < vocab_size() && section_.IsSpecial(static_cast<uint32_t>(id));
}

std::string Tokenizer::Decode(std::span<const TokenId> ids, bool with_special) const {
  std::string text;
  for (const TokenId id : ids) {
    if (with_special || !IsSpecial(id)) text += TokenBytes(id);
  }
  return text;
}

}  // namespace glint
