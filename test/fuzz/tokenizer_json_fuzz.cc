// Any text as tokenizer.json, or as vocab.json and the files beside it: refused, or a section that opens.
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "glint/base/check.h"
#include "tokenizer/tokenizer.h"

namespace {

void CheckOpens(const glint::Result<std::vector<std::byte>>& built) {
  if (!built.ok()) {
    GLINT_CHECK(!built.status().message().empty());
    return;
  }
  const glint::Result<glint::Tokenizer> opened = glint::Tokenizer::Open(*built, "fuzz");
  GLINT_CHECK(opened.ok());
  std::vector<glint::TokenId> ids;
  if (opened->Encode("<s> a'b \xFF", true, &ids).ok()) opened->Decode(ids, true);
}

}  // namespace

// The files of the pair stand one behind the other, with a zero byte between.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  CheckOpens(glint::BuildTokenizerFromJson(rest, "fuzz"));
  std::array<std::string_view, 5> files;
  for (std::string_view& file : files) {
    file = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(file.size() + 1, rest.size()));
  }
  CheckOpens(glint::BuildTokenizerFromVocabAndMerges({.vocab_json = files[0],
                                                      .merges_txt = files[1],
                                                      .special_tokens_map_json = files[2],
                                                      .added_tokens_json = files[3],
                                                      .tokenizer_config_json = files[4]},
                                                     "fuzz"));
  return 0;
}
