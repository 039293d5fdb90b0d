#include "tokenizer/tokenizer_section.h"

#include "glint/base/text.h"

namespace glint {
namespace {

uint32_t LoadLittle32(const std::byte* bytes) {
  return std::to_integer<uint32_t>(bytes[0]) | std::to_integer<uint32_t>(bytes[1]) << 8 |
         std::to_integer<uint32_t>(bytes[2]) << 16 | std::to_integer<uint32_t>(bytes[3]) << 24;
}

Status Corrupt(std::string_view file, uint64_t offset, const std::string& what) {
  return CorruptData(Concat(file, ": tokenizer section, offset ", offset, ": ", what));
}

}  // namespace

TokenizerLayout::TokenizerLayout(const TokenizerCounts& counts)
    : byte_ids(kTokenizerHeaderBytes),
      token_begin(byte_ids + 4 * 256),
      merge_begin(token_begin + 4 * (uint64_t{counts.vocab_size} + 1)),
      merges(merge_begin + 4 * (uint64_t{counts.vocab_size} + 1)),
      added(merges + 12 * uint64_t{counts.merge_count}),
      token_flags(added + 8 * uint64_t{counts.added_count}),
      text(token_flags + counts.vocab_size),
      end(text + counts.text_bytes) {}

Result<TokenizerSection> TokenizerSection::Open(std::span<const std::byte> section, std::string_view file) {
  if (section.size() < kTokenizerHeaderBytes) {
    return Corrupt(file, 0, Concat("wanted a header of ", kTokenizerHeaderBytes, " bytes, got ", section.size()));
  }
  const std::byte* data = section.data();
  if (LoadLittle32(data) != kTokenizerMagic) return Corrupt(file, 0, "it does not begin with GLTK");
  if (const uint32_t version = LoadLittle32(data + 4); version != kTokenizerVersion) {
    return Unsupported(Concat(file, ": tokenizer section, offset 4: wanted version ", kTokenizerVersion, ", got ",
                              version, "; pack the checkpoint again with this glint"));
  }
  const TokenizerCounts counts = {LoadLittle32(data + 8),  LoadLittle32(data + 12), LoadLittle32(data + 16),
                                  LoadLittle32(data + 20), LoadLittle32(data + 24), LoadLittle32(data + 28)};
  if (counts.vocab_size == 0 || counts.vocab_size > kTokenizerVocabMax) {
    return Corrupt(file, 8, Concat("wanted 1 to ", kTokenizerVocabMax, " tokens, got ", counts.vocab_size));
  }
  if (counts.merge_count > kTokenizerMergesMax) {
    return Corrupt(file, 12, Concat("wanted at most ", kTokenizerMergesMax, " merges, got ", counts.merge_count));
  }
  if (counts.added_count > counts.vocab_size) {
    return Corrupt(file, 16, Concat("wanted at most ", counts.vocab_size, " added tokens, got ", counts.added_count));
  }
  if (counts.added_first_count > counts.added_count) {
    return Corrupt(file, 20, Concat("wanted at most ", counts.added_count, ", got ", counts.added_first_count));
  }
  if ((counts.flags & ~kTokenizerPrefixSpace) != 0) {
    return Corrupt(file, 28, Concat("unknown flags ", Hex64(counts.flags)));
  }
  const TokenizerSection opened(data, counts);
  if (opened.layout_.end != section.size()) {
    return Corrupt(file, 0, Concat("wanted ", opened.layout_.end, " bytes by its counts, got ", section.size()));
  }
  GLINT_RETURN_IF_ERROR(opened.CheckTokens(file));
  GLINT_RETURN_IF_ERROR(opened.CheckMerges(file));
  GLINT_RETURN_IF_ERROR(opened.CheckAdded(file));
  return opened;
}

Status TokenizerSection::CheckTokens(std::string_view file) const {
  uint32_t begin = 0;
  for (uint32_t id = 0; id <= counts_.vocab_size; ++id) {
    const uint64_t offset = layout_.token_begin + 4 * uint64_t{id};
    const uint32_t next = Load(offset);
    if (next < begin || next > counts_.text_bytes || next - begin > (id == 0 ? 0 : kTokenBytesMax)) {
      return Corrupt(file, offset, Concat("token ", id, " begins at ", next, ", the one before at ", begin));
    }
    begin = next;
  }
  if (begin != counts_.text_bytes) {
    return Corrupt(file, layout_.token_begin, Concat("tokens end at ", begin, ", not at ", counts_.text_bytes));
  }
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const uint32_t id = ByteId(static_cast<uint8_t>(byte));
    if (id == kTokenNone) continue;
    if (id >= counts_.vocab_size || Text(id).size() != 1 || static_cast<uint8_t>(Text(id)[0]) != byte) {
      return Corrupt(file, layout_.byte_ids + 4 * byte, Concat("id ", id, " is not the token of byte ", byte));
    }
  }
  for (uint32_t id = 0; id < counts_.vocab_size; ++id) {
    const auto flags = std::to_integer<uint32_t>(data_[layout_.token_flags + id]);
    if ((flags & ~kTokenSpecial) != 0) {
      return Corrupt(file, layout_.token_flags + id, Concat("unknown flags ", flags, " of token ", id));
    }
  }
  return Status::Ok();
}

Status TokenizerSection::CheckMerges(std::string_view file) const {
  if (Load(layout_.merge_begin) != 0) return Corrupt(file, layout_.merge_begin, "the first merge is not merge 0");
  for (uint32_t left = 0; left < counts_.vocab_size; ++left) {
    const uint64_t offset = layout_.merge_begin + 4 * uint64_t{left};
    const uint32_t begin = Load(offset);
    const uint32_t end = Load(offset + 4);
    if (end < begin || end > counts_.merge_count) {
      return Corrupt(file, offset, Concat("merges of token ", left, " are ", begin, " to ", end));
    }
    for (uint32_t i = begin; i < end; ++i) {
      const Merge merge = LoadMerge(i);
      const uint64_t merge_offset = layout_.merges + 12 * uint64_t{i};
      if (merge.right >= counts_.vocab_size || merge.merged >= counts_.vocab_size ||
          merge.rank >= counts_.merge_count || (i > begin && merge.right <= LoadMerge(i - 1).right)) {
        return Corrupt(file, merge_offset,
                       Concat("merge ", i, " has right ", merge.right, ", rank ", merge.rank, ", merged ", merge.merged,
                              ": an id or rank beyond its limit, or out of order"));
      }
      const std::string_view left_text = Text(left);
      const std::string_view right_text = Text(merge.right);
      const std::string_view text = Text(merge.merged);
      if (left_text.empty() || right_text.empty() || text.size() != left_text.size() + right_text.size() ||
          !text.starts_with(left_text) || !text.ends_with(right_text)) {
        return Corrupt(file, merge_offset, Concat("merge ", i, " does not give the text of its parts"));
      }
    }
  }
  const uint64_t last = layout_.merge_begin + 4 * uint64_t{counts_.vocab_size};
  if (Load(last) != counts_.merge_count) {
    return Corrupt(file, last, Concat("wanted ", counts_.merge_count, ", got ", Load(last)));
  }
  return Status::Ok();
}

Status TokenizerSection::CheckAdded(std::string_view file) const {
  for (uint32_t i = 0; i < counts_.added_count; ++i) {
    const Added added = LoadAdded(i);
    const uint64_t offset = layout_.added + 8 * uint64_t{i};
    if (added.id >= counts_.vocab_size || (added.flags & ~(kAddedStripsLeft | kAddedStripsRight)) != 0 ||
        Text(added.id).empty()) {
      return Corrupt(file, offset, Concat("added token ", i, " has id ", added.id, ", flags ", added.flags));
    }
    if (i > 0 && i != counts_.added_first_count && Text(LoadAdded(i - 1).id) >= Text(added.id)) {
      return Corrupt(file, offset, Concat("added token ", i, " is out of order"));
    }
  }
  return Status::Ok();
}

std::string_view TokenizerSection::Text(uint32_t id) const {
  const uint64_t offset = layout_.token_begin + 4 * uint64_t{id};
  const uint32_t begin = Load(offset);
  return {reinterpret_cast<const char*>(data_) + layout_.text + begin, Load(offset + 4) - begin};
}

bool TokenizerSection::IsSpecial(uint32_t id) const {
  return (std::to_integer<uint32_t>(data_[layout_.token_flags + id]) & kTokenSpecial) != 0;
}

bool TokenizerSection::FindMerge(uint32_t left, uint32_t right, Merge* merge) const {
  const uint64_t offset = layout_.merge_begin + 4 * uint64_t{left};
  uint32_t begin = Load(offset);
  uint32_t end = Load(offset + 4);
  while (begin < end) {
    const uint32_t middle = begin + (end - begin) / 2;
    const uint32_t found = Load(layout_.merges + 12 * uint64_t{middle});
    if (found == right) {
      *merge = LoadMerge(middle);
      return true;
    }
    if (found < right) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return false;
}

bool TokenizerSection::AddedHoldSpaces(bool parse_special) const {
  for (uint32_t i = 0; i < counts_.added_count; ++i) {
    const Added added = LoadAdded(i);
    const bool strips_right = (added.flags & kAddedStripsRight) != 0 && (parse_special || !IsSpecial(added.id));
    if (strips_right || Text(added.id).find_first_of(" \n") != std::string_view::npos) return true;
  }
  return false;
}

bool TokenizerSection::FindAdded(std::string_view text, bool first_group, Added* added) const {
  // [begin, end) are the tokens that begin with the first `depth` bytes of the text; being sorted, one that is no
  // longer than that comes first. The last such token met is the longest.
  uint32_t begin = first_group ? 0 : counts_.added_first_count;
  uint32_t end = first_group ? counts_.added_first_count : counts_.added_count;
  bool found = false;
  for (size_t depth = 0; begin < end && depth < text.size(); ++depth) {
    const auto wanted = static_cast<uint8_t>(text[depth]);
    // Returns the first token of [from, end) whose byte at `depth` is at least `least`; none there counts as less.
    const auto first_at_least = [&](uint32_t from, uint32_t least) {
      uint32_t to = end;
      while (from < to) {
        const uint32_t middle = from + (to - from) / 2;
        const std::string_view candidate = Text(LoadAdded(middle).id);
        if (candidate.size() <= depth || static_cast<uint8_t>(candidate[depth]) < least) {
          from = middle + 1;
        } else {
          to = middle;
        }
      }
      return from;
    };
    begin = first_at_least(begin, wanted);
    end = first_at_least(begin, uint32_t{wanted} + 1);
    if (begin < end && Text(LoadAdded(begin).id).size() == depth + 1) {
      *added = LoadAdded(begin);
      found = true;
    }
  }
  return found;
}

uint32_t TokenizerSection::Load(uint64_t offset) const { return LoadLittle32(data_ + offset); }

TokenizerSection::Merge TokenizerSection::LoadMerge(uint32_t index) const {
  const uint64_t offset = layout_.merges + 12 * uint64_t{index};
  return {Load(offset), Load(offset + 4), Load(offset + 8)};
}

TokenizerSection::Added TokenizerSection::LoadAdded(uint32_t index) const {
  const uint64_t offset = layout_.added + 8 * uint64_t{index};
  return {Load(offset), Load(offset + 4)};
}

}  // namespace glint
