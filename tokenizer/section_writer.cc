#include "tokenizer/section_writer.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "glint/base/text.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_section.h"

namespace glint {
namespace {

using IdBySpelling = std::unordered_map<std::string_view, uint32_t>;

struct Tokens {
  std::vector<std::string> texts;  // by id; empty: no token
  std::vector<uint8_t> flags;      // by id
  IdBySpelling ids;                // of the vocabulary
};

struct RankedMerge {
  uint32_t rank;
  uint32_t merged;
};
using Merges = std::map<std::pair<uint32_t, uint32_t>, RankedMerge>;

Status CheckId(uint32_t id, const std::string& key, std::string_view spelling) {
  if (id < kTokenizerVocabMax) return Status::Ok();
  return CorruptData(Concat(key, ": token ", Quote(spelling), " has id ", id, ", the limit is ", kTokenizerVocabMax));
}

Status CheckText(const std::string& text, const std::string& key) {
  if (text.size() <= kTokenBytesMax) return Status::Ok();
  return Unsupported(
      Concat(key, ": token ", Quote(text), " has ", text.size(), " bytes, the limit is ", kTokenBytesMax));
}

Status PlaceVocab(const TokenizerParts& parts, Tokens* tokens) {
  uint32_t vocab_size = 0;
  for (const auto& [spelling, id] : parts.vocab) {
    GLINT_RETURN_IF_ERROR(CheckId(id, parts.vocab_key, spelling));
    vocab_size = std::max(vocab_size, id + 1);
  }
  for (const AddedToken& added : parts.added) {
    GLINT_RETURN_IF_ERROR(CheckId(added.id, parts.added_key, added.content));
    vocab_size = std::max(vocab_size, added.id + 1);
  }
  if (vocab_size == 0) return CorruptData(Concat(parts.vocab_key, ": it names no token"));
  tokens->texts.resize(vocab_size);
  tokens->flags.resize(vocab_size);
  for (const auto& [spelling, id] : parts.vocab) {
    if (spelling.empty()) return CorruptData(Concat(parts.vocab_key, ": the token with id ", id, " is empty"));
    std::string& text = tokens->texts[id];
    if (!text.empty() || !tokens->ids.emplace(spelling, id).second) {
      return CorruptData(
          Concat(parts.vocab_key, ": id ", id, " of token ", Quote(spelling), " or the token itself is there twice"));
    }
    text = UnspellBytes(spelling);
    GLINT_RETURN_IF_ERROR(CheckText(text, parts.vocab_key));
  }
  return Status::Ok();
}

Status PlaceAdded(const TokenizerParts& parts, Tokens* tokens) {
  std::unordered_map<std::string_view, uint32_t> ids;
  for (const AddedToken& added : parts.added) {
    const std::string where = Concat(parts.added_key, ": token ", Quote(added.content));
    if (!ids.emplace(added.content, added.id).second) return CorruptData(where + " is there twice");
    std::string& text = tokens->texts[added.id];
    const auto in_vocab = tokens->ids.find(added.content);
    if (in_vocab != tokens->ids.end()) {
      if (in_vocab->second != added.id) {
        return CorruptData(Concat(where, " has id ", added.id, ", but id ", in_vocab->second, " in ", parts.vocab_key));
      }
      // An added token's text is its content. Where the same id also stands for other bytes in BPE, one id would
      // have two texts.
      if (text != added.content) {
        return Unsupported(where + " is also a token of other bytes in GPT-2's byte alphabet");
      }
    } else if (!text.empty()) {
      return CorruptData(Concat(where, " has id ", added.id, ", which is that of ", Quote(text)));
    } else {
      text = added.content;
      GLINT_RETURN_IF_ERROR(CheckText(text, parts.added_key));
    }
    if (added.special) tokens->flags[added.id] |= static_cast<uint8_t>(kTokenSpecial);
  }
  return Status::Ok();
}

Result<Merges> RankMerges(const TokenizerParts& parts, const Tokens& tokens) {
  if (parts.merges.size() > kTokenizerMergesMax) {
    return CorruptData(
        Concat(parts.merges_key, ": ", parts.merges.size(), " merges, the limit is ", kTokenizerMergesMax));
  }
  Merges merges;
  for (uint32_t rank = 0; rank < parts.merges.size(); ++rank) {
    const auto& [left, right] = parts.merges[rank];
    const std::string result = left + right;
    const auto left_id = tokens.ids.find(left);
    const auto right_id = tokens.ids.find(right);
    const auto merged_id = tokens.ids.find(result);
    for (const auto& [spelling, id] :
         {std::pair(&left, left_id), std::pair(&right, right_id), std::pair(&result, merged_id)}) {
      if (id != tokens.ids.end()) continue;
      return CorruptData(
          Concat(parts.merges_key, "[", rank, "]: ", Quote(*spelling), " has no id in ", parts.vocab_key));
    }
    const std::string& text = tokens.texts[merged_id->second];
    if (text != tokens.texts[left_id->second] + tokens.texts[right_id->second]) {
      return CorruptData(Concat(parts.merges_key, "[", rank, "]: ", Quote(result), " is not the bytes of its parts"));
    }
    merges[{left_id->second, right_id->second}] = {rank, merged_id->second};
  }
  // Those that a later one replaced leave gaps among the ranks; only the order counts.
  std::vector<RankedMerge*> by_rank;
  by_rank.reserve(merges.size());
  for (auto& [pair, merge] : merges) by_rank.push_back(&merge);
  std::sort(by_rank.begin(), by_rank.end(), [](const auto* a, const auto* b) { return a->rank < b->rank; });
  for (uint32_t rank = 0; rank < by_rank.size(); ++rank) by_rank[rank]->rank = rank;
  return merges;
}

// The two groups one after the other, each by its tokens' bytes.
std::vector<AddedToken> SortAdded(std::vector<AddedToken> added) {
  std::sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) {
    return std::tie(a.normalized, a.content) < std::tie(b.normalized, b.content);
  });
  return added;
}

class Writer {
 public:
  void Append32(uint64_t value) {
    for (int shift = 0; shift < 32; shift += 8) bytes_.push_back(static_cast<std::byte>((value >> shift) & 0xFF));
  }
  void Append8(uint8_t value) { bytes_.push_back(std::byte{value}); }
  void AppendText(std::string_view text) {
    for (const char c : text) bytes_.push_back(static_cast<std::byte>(c));
  }
  std::vector<std::byte> Take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

void AppendMerges(const Merges& merges, uint32_t vocab_size, Writer* writer) {
  auto next = merges.begin();
  uint32_t index = 0;
  for (uint32_t left = 0; left <= vocab_size; ++left) {
    for (; next != merges.end() && next->first.first < left; ++next) ++index;
    writer->Append32(index);
  }
  for (const auto& [pair, merge] : merges) {
    writer->Append32(pair.second);
    writer->Append32(merge.rank);
    writer->Append32(merge.merged);
  }
}

}  // namespace

Result<std::vector<std::byte>> WriteTokenizerSection(const TokenizerParts& parts) {
  Tokens tokens;
  GLINT_RETURN_IF_ERROR(PlaceVocab(parts, &tokens));
  GLINT_RETURN_IF_ERROR(PlaceAdded(parts, &tokens));
  GLINT_ASSIGN_OR_RETURN(const Merges merges, RankMerges(parts, tokens));
  const std::vector<AddedToken> added = SortAdded(parts.added);
  uint64_t text_bytes = 0;
  for (const std::string& text : tokens.texts) text_bytes += text.size();

  Writer writer;
  writer.Append32(kTokenizerMagic);
  writer.Append32(kTokenizerVersion);
  writer.Append32(tokens.texts.size());
  writer.Append32(merges.size());
  writer.Append32(added.size());
  writer.Append32(
      static_cast<uint64_t>(std::count_if(added.begin(), added.end(), [](const auto& a) { return !a.normalized; })));
  writer.Append32(text_bytes);
  writer.Append32(parts.adds_prefix_space ? kTokenizerPrefixSpace : 0);
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const auto id = tokens.ids.find(SpellByte(static_cast<uint8_t>(byte)));
    writer.Append32(id == tokens.ids.end() ? kTokenNone : id->second);
  }
  uint64_t begin = 0;
  writer.Append32(begin);
  for (const std::string& text : tokens.texts) writer.Append32(begin += text.size());
  AppendMerges(merges, static_cast<uint32_t>(tokens.texts.size()), &writer);
  for (const AddedToken& token : added) {
    writer.Append32(token.id);
    writer.Append32((token.strips_left ? kAddedStripsLeft : 0) | (token.strips_right ? kAddedStripsRight : 0));
  }
  for (const uint8_t flags : tokens.flags) writer.Append8(flags);
  for (const std::string& text : tokens.texts) writer.AppendText(text);
  return writer.Take();
}

std::vector<std::byte> BuildByteTokenizer() {
  TokenizerParts parts;
  for (const char* special : {"<s>", "<pad>", "</s>", "<unk>"}) {
    parts.added.push_back({.id = static_cast<uint32_t>(parts.added.size()), .content = special, .special = true});
  }
  for (uint32_t byte = 0; byte < 256; ++byte) parts.vocab.emplace_back(SpellByte(static_cast<uint8_t>(byte)), 4 + byte);
  return WriteTokenizerSection(parts).value();
}

}  // namespace glint
