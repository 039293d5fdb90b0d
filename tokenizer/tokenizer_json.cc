// Hugging Face's tokenizer.json, as far as it describes byte-level BPE: all else is refused by the key's name.
#include <array>
#include <nlohmann/json.hpp>

#include "glint/base/text.h"
#include "tokenizer/hugging_face_json.h"
#include "tokenizer/tokenizer.h"

namespace glint {
namespace {

using nlohmann::json;

Status CheckKeys(const json& object, std::initializer_list<std::string_view> known, const std::string& where) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return Unsupported(Concat(where, ": unknown key ", Quote(key), " with value ", ShowJson(value)));
    }
  }
  return Status::Ok();
}

// Refuses object[key] unless it is absent or one of `allowed`.
Status CheckValue(const json& object, const char* key, std::initializer_list<json> allowed, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || std::find(allowed.begin(), allowed.end(), *found) != allowed.end()) return Status::Ok();
  return Unsupported(Concat(where, ".", key, ": wanted ", ShowJson(*allowed.begin()), ", got ", ShowJson(*found)));
}

bool IsByteLevel(const json& value) {
  if (!value.is_object()) return false;
  const auto type = value.find("type");
  return type != value.end() && *type == "ByteLevel";
}

// Returns the ByteLevel object that `value` is, or that is alone in the Sequence `value`; else null.
const json* FindByteLevel(const json& value, const char* list_key) {
  if (IsByteLevel(value)) return &value;
  if (!value.is_object()) return nullptr;
  const auto type = value.find("type");
  const auto list = value.find(list_key);
  if (type == value.end() || *type != "Sequence" || list == value.end()) return nullptr;
  return list->is_array() && list->size() == 1 && IsByteLevel(list->front()) ? &list->front() : nullptr;
}

Result<bool> ReadPreTokenizer(const json& root, const std::string& file) {
  const std::string where = file + ": pre_tokenizer";
  const auto found = root.find("pre_tokenizer");
  const json* byte_level = found == root.end() ? nullptr : FindByteLevel(*found, "pretokenizers");
  if (byte_level == nullptr) {
    return Unsupported(Concat(where, ": wanted ByteLevel, got ", found == root.end() ? "none" : ShowJson(*found)));
  }
  GLINT_RETURN_IF_ERROR(CheckKeys(*byte_level, {"type", "add_prefix_space", "trim_offsets", "use_regex"}, where));
  GLINT_RETURN_IF_ERROR(CheckValue(*byte_level, "use_regex", {true}, where));
  return JsonBool(*byte_level, "add_prefix_space", true, where);
}

Status ReadMerges(const json& model, const std::string& where, TokenizerParts* parts) {
  const auto merges = model.find("merges");
  if (merges == model.end() || !merges->is_array()) return CorruptData(where + ".merges: wanted an array");
  parts->merges.reserve(merges->size());
  for (const json& merge : *merges) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      parts->merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      return CorruptData(
          Concat(where, ".merges[", parts->merges.size(), "]: wanted two tokens, got ", ShowJson(merge)));
    }
    parts->merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return Status::Ok();
}

Status ReadModel(const json& root, const std::string& file, TokenizerParts* parts) {
  const std::string where = file + ": model";
  const auto model = root.find("model");
  if (model == root.end() || !model->is_object()) return CorruptData(where + ": wanted an object");
  GLINT_RETURN_IF_ERROR(CheckValue(*model, "type", {"BPE"}, where));
  GLINT_RETURN_IF_ERROR(CheckKeys(*model,
                                  {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                                   "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"},
                                  where));
  // unk_token and fuse_unk are about bytes without a token, which Encode refuses.
  GLINT_RETURN_IF_ERROR(CheckValue(*model, "dropout", {nullptr, 0.0}, where));
  GLINT_RETURN_IF_ERROR(CheckValue(*model, "continuing_subword_prefix", {nullptr, ""}, where));
  GLINT_RETURN_IF_ERROR(CheckValue(*model, "end_of_word_suffix", {nullptr, ""}, where));
  GLINT_RETURN_IF_ERROR(CheckValue(*model, "byte_fallback", {false}, where));
  GLINT_RETURN_IF_ERROR(CheckValue(*model, "ignore_merges", {false}, where));
  const auto vocab = model->find("vocab");
  if (vocab == model->end()) return CorruptData(where + ".vocab: wanted an object, got none");
  GLINT_ASSIGN_OR_RETURN(parts->vocab, JsonVocab(*vocab, where + ".vocab"));
  return ReadMerges(*model, where, parts);
}

Status ReadAddedTokens(const json& root, const std::string& file, TokenizerParts* parts) {
  const auto list = root.find("added_tokens");
  if (list == root.end() || list->is_null()) return Status::Ok();
  if (!list->is_array()) return CorruptData(Concat(file, ": added_tokens: wanted an array, got ", list->type_name()));
  for (const json& entry : *list) {
    const std::string where = Concat(file, ": added_tokens[", parts->added.size(), "]");
    if (!entry.is_object() || !entry.contains("id")) return CorruptData(where + ": wanted an object with an id");
    GLINT_ASSIGN_OR_RETURN(const uint32_t id, JsonId(entry["id"], where + ".id"));
    GLINT_ASSIGN_OR_RETURN(AddedToken token, JsonAddedToken(entry, id, /*special_fallback=*/false, where));
    parts->added.push_back(std::move(token));
  }
  return Status::Ok();
}

Result<TokenizerParts> ReadParts(const json& root, const std::string& file) {
  // truncation and padding are about batches, post_processor about BOS and EOS: those are glint's own affair.
  GLINT_RETURN_IF_ERROR(CheckKeys(root,
                                  {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                                   "post_processor", "decoder", "model"},
                                  file));
  GLINT_RETURN_IF_ERROR(CheckValue(root, "normalizer", {nullptr}, file));
  const auto decoder = root.find("decoder");
  if (decoder != root.end() && !decoder->is_null() && FindByteLevel(*decoder, "decoders") == nullptr) {
    return Unsupported(Concat(file, ": decoder: wanted ByteLevel, got ", ShowJson(*decoder)));
  }
  TokenizerParts parts;
  parts.vocab_key = file + ": model.vocab";
  parts.merges_key = file + ": model.merges";
  parts.added_key = file + ": added_tokens";
  GLINT_ASSIGN_OR_RETURN(parts.adds_prefix_space, ReadPreTokenizer(root, file));
  GLINT_RETURN_IF_ERROR(ReadModel(root, file, &parts));
  GLINT_RETURN_IF_ERROR(ReadAddedTokens(root, file, &parts));
  return parts;
}

}  // namespace

Result<std::vector<std::byte>> BuildTokenizerFromJson(std::string_view tokenizer_json, std::string_view file) {
  const std::string name(file);
  TokenizerParts parts;
  {
    // The parsed document is many times the section: it goes before that is written.
    GLINT_ASSIGN_OR_RETURN(const json root, ParseTokenizerJson(tokenizer_json, name));
    GLINT_ASSIGN_OR_RETURN(parts, ReadParts(root, name));
  }
  return WriteTokenizerSection(parts);
}

}  // namespace glint
