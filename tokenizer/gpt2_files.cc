// GPT-2's vocab.json and merges.txt, with what Hugging Face's Python tokenizers read beside them.
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "glint/base/text.h"
#include "tokenizer/hugging_face_json.h"
#include "tokenizer/tokenizer.h"

namespace glint {
namespace {

using nlohmann::json;

Status ReadMerges(std::string_view merges_txt, const std::string& file, TokenizerParts* parts) {
  uint64_t line_number = 0;
  while (!merges_txt.empty()) {
    const size_t newline = merges_txt.find('\n');
    std::string_view line = merges_txt.substr(0, newline);
    merges_txt.remove_prefix(newline == std::string_view::npos ? merges_txt.size() : newline + 1);
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
      return CorruptData(Concat(file, ": line ", line_number, ": wanted two tokens, got ", Quote(line)));
    }
    parts->merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return Status::Ok();
}

// Added tokens by content, gathered from several files: the first that knows an id or the flags is believed.
class AddedTokens {
 public:
  AddedTokens(const TokenizerParts& parts, std::string folder) : folder_(std::move(folder)) {
    for (const auto& [spelling, id] : parts.vocab) vocab_.emplace(spelling, id);
  }

  Status ReadDecoder(const json& config) {
    const auto decoder = config.find("added_tokens_decoder");
    if (decoder == config.end()) return Status::Ok();
    const std::string key = folder_ + "/tokenizer_config.json: added_tokens_decoder";
    if (!decoder->is_object()) return CorruptData(Concat(key, ": wanted an object, got ", decoder->type_name()));
    for (const auto& [name, entry] : decoder->items()) {
      uint32_t id = 0;
      const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
      if (error != std::errc() || end != name.data() + name.size()) {
        return CorruptData(Concat(key, ": wanted ids as keys, got ", Quote(name)));
      }
      GLINT_ASSIGN_OR_RETURN(AddedToken token, JsonAddedToken(entry, id, false, Concat(key, "[", name, "]")));
      Add(std::move(token));
    }
    return Status::Ok();
  }

  Status ReadAddedTokens(const json& ids) {
    const std::string key = folder_ + "/added_tokens.json";
    for (const auto& [content, value] : ids.items()) {
      if (content.empty()) return CorruptData(key + ": it names an empty token");
      GLINT_ASSIGN_OR_RETURN(const uint32_t id, JsonId(value, Concat(key, "[", Quote(content), "]")));
      Add({.id = id, .content = content, .normalized = true});
    }
    return Status::Ok();
  }

  Status ReadSpecialTokens(const json& map) {
    for (const auto& [name, value] : map.items()) {
      const std::string key = Concat(folder_, "/special_tokens_map.json: ", name);
      if (!value.is_array()) {
        GLINT_RETURN_IF_ERROR(AddSpecial(value, key));
        continue;
      }
      for (const json& entry : value) GLINT_RETURN_IF_ERROR(AddSpecial(entry, key));
    }
    return Status::Ok();
  }

  std::vector<AddedToken> Take() {
    std::vector<AddedToken> tokens;
    for (auto& [content, token] : tokens_) tokens.push_back(std::move(token));
    return tokens;
  }

 private:
  void Add(AddedToken token) {
    std::string content = token.content;
    tokens_.emplace(std::move(content), std::move(token));
  }

  // `value`: a token's text, or an object with its content and flags.
  Status AddSpecial(const json& value, const std::string& key) {
    json object = value;
    if (value.is_string()) object = {{"content", value}};
    GLINT_ASSIGN_OR_RETURN(AddedToken token, JsonAddedToken(object, 0, /*special_fallback=*/true, key));
    token.special = true;
    if (const auto known = tokens_.find(token.content); known != tokens_.end()) {
      known->second.special = true;
      return Status::Ok();
    }
    const auto in_vocab = vocab_.find(token.content);
    if (in_vocab == vocab_.end()) {
      return CorruptData(Concat(key, ": ", Quote(token.content), " has no id in vocab.json or added_tokens.json"));
    }
    token.id = in_vocab->second;
    Add(std::move(token));
    return Status::Ok();
  }

  const std::string folder_;
  std::map<std::string, uint32_t, std::less<>> vocab_;
  std::map<std::string, AddedToken> tokens_;
};

// Returns an empty object for a file that is not there.
Result<json> ParseOptional(std::string_view text, const std::string& file) {
  if (text.empty()) return json::object();
  return ParseTokenizerJson(text, file);
}

}  // namespace

Result<std::vector<std::byte>> BuildTokenizerFromVocabAndMerges(const Gpt2TokenizerFiles& files,
                                                                std::string_view folder_view) {
  const std::string folder(folder_view);
  TokenizerParts parts;
  parts.vocab_key = folder + "/vocab.json";
  parts.merges_key = folder + "/merges.txt: merges";
  parts.added_key = folder + ": added tokens";
  {
    GLINT_ASSIGN_OR_RETURN(const json vocab, ParseTokenizerJson(files.vocab_json, parts.vocab_key));
    GLINT_ASSIGN_OR_RETURN(parts.vocab, JsonVocab(vocab, parts.vocab_key));
  }
  GLINT_RETURN_IF_ERROR(ReadMerges(files.merges_txt, folder + "/merges.txt", &parts));
  GLINT_ASSIGN_OR_RETURN(const json config,
                         ParseOptional(files.tokenizer_config_json, folder + "/tokenizer_config.json"));
  GLINT_ASSIGN_OR_RETURN(const json ids, ParseOptional(files.added_tokens_json, folder + "/added_tokens.json"));
  GLINT_ASSIGN_OR_RETURN(const json special,
                         ParseOptional(files.special_tokens_map_json, folder + "/special_tokens_map.json"));
  GLINT_ASSIGN_OR_RETURN(parts.adds_prefix_space,
                         JsonBool(config, "add_prefix_space", false, folder + "/tokenizer_config.json"));
  AddedTokens added(parts, folder);
  GLINT_RETURN_IF_ERROR(added.ReadDecoder(config));
  GLINT_RETURN_IF_ERROR(added.ReadAddedTokens(ids));
  GLINT_RETURN_IF_ERROR(added.ReadSpecialTokens(special));
  parts.added = added.Take();
  return WriteTokenizerSection(parts);
}

}  // namespace glint
