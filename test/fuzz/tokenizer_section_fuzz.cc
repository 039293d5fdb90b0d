// Any bytes as a tokenizer section: refused, or safe to encode and decode with. What opens loses no byte of a text.
#include <cstdint>
#include <string_view>
#include <vector>

#include "glint/base/check.h"
#include "tokenizer/tokenizer.h"

// The input is the text's length in one byte, the text, and the section.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::span<const std::byte> input = std::as_bytes(std::span(data, size)).subspan(1);
  const size_t text_bytes = std::min<size_t>(data[0], input.size());
  const std::string_view text(reinterpret_cast<const char*>(input.data()), text_bytes);
  const glint::Result<glint::Tokenizer> opened = glint::Tokenizer::Open(input.subspan(text_bytes), "fuzz");
  if (!opened.ok()) return 0;
  for (const bool parse_special : {false, true}) {
    std::vector<glint::TokenId> ids;
    if (!opened->Encode(text, parse_special, &ids).ok()) {
      GLINT_CHECK(ids.empty());
      continue;
    }
    for (const glint::TokenId id : ids) {
      GLINT_CHECK(id >= 0 && static_cast<uint32_t>(id) < opened->vocab_size());
      GLINT_CHECK(!opened->TokenBytes(id).empty());
    }
    glint::Utf8Stream stream;
    stream.Push(opened->Decode(ids, /*with_special=*/true));
    stream.Finish();
  }
  return 0;
}
