#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace glint {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

std::string Utf8Stream::Push(std::string_view bytes) {
  pending_ += bytes;
  std::string shown;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Character character = DecodeUtf8(rest);
    if (character.kind == Utf8Character::Kind::kTruncated) break;
    shown += character.kind == Utf8Character::Kind::kValid ? rest.substr(0, character.bytes) : kReplacement;
    rest.remove_prefix(character.bytes);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return shown;
}

std::string Utf8Stream::Finish() {
  // Push keeps at most one character that has begun well: one replacement stands for all of it.
  std::string shown(pending_.empty() ? std::string_view() : kReplacement);
  pending_.clear();
  return shown;
}

}  // namespace glint
