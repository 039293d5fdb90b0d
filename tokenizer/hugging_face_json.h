// What tokenizer.json and the files beside vocab.json have in common. Internal to the builders.
#ifndef GLINT_TOKENIZER_HUGGING_FACE_JSON_H_
#define GLINT_TOKENIZER_HUGGING_FACE_JSON_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "glint/base/status.h"
#include "tokenizer/section_writer.h"

namespace glint {

// Parses one JSON object. kCorruptData with `file` and the offset, also for nesting beyond 32 levels.
Result<nlohmann::json> ParseTokenizerJson(std::string_view json, const std::string& file);

// Returns a value as a message may show it: its JSON, escaped and cut.
std::string ShowJson(const nlohmann::json& value);

// Returns object[key], `fallback` where it is absent. kCorruptData for anything but true and false.
Result<bool> JsonBool(const nlohmann::json& object, const char* key, bool fallback, const std::string& where);

// Reads an id. kCorruptData unless it is a whole number below 2^32 - 1.
Result<uint32_t> JsonId(const nlohmann::json& value, const std::string& where);

// Reads the vocabulary's object of spellings and ids.
Result<std::vector<std::pair<std::string, uint32_t>>> JsonVocab(const nlohmann::json& object, const std::string& where);

// Reads content and flags of an added token; `id` is the caller's. `single_word` is kUnsupported unless false.
Result<AddedToken> JsonAddedToken(const nlohmann::json& object, uint32_t id, bool special_fallback,
                                  const std::string& where);

}  // namespace glint

#endif  // GLINT_TOKENIZER_HUGGING_FACE_JSON_H_
