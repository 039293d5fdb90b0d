#include "tokenizer/hugging_face_json.h"

#include <nlohmann/json.hpp>

#include "glint/base/text.h"

namespace glint {
namespace {

using nlohmann::json;

constexpr int kDepthMax = 32;

// Reads through a text without building anything, and stops where it is nested too deeply. (The parser's own callback
// could do that too, but with one it searches an array again at the end of each object in it: a list of many objects
// takes the square of its length.)
class DepthLimit final : public nlohmann::json_sax<json> {
 public:
  bool too_deep() const { return depth_ > kDepthMax; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(size_t) override { return ++depth_ <= kDepthMax; }
  bool end_object() override { return --depth_ >= 0; }
  bool start_array(size_t) override { return ++depth_ <= kDepthMax; }
  bool end_array() override { return --depth_ >= 0; }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  int depth_ = 0;
};

}  // namespace

Result<json> ParseTokenizerJson(std::string_view text, const std::string& file) {
  json parsed;
  Status status;
  try {
    DepthLimit limit;
    (void)json::sax_parse(text.begin(), text.end(), &limit);  // what is not JSON is told by the parse below
    if (limit.too_deep()) return CorruptData(Concat(file, ": nested deeper than ", kDepthMax, " levels"));
    parsed = json::parse(text.begin(), text.end());
  } catch (const json::parse_error& error) {
    status = CorruptData(Concat(file, ": offset ", error.byte, ": not JSON: ", Quote(error.what())));
  } catch (const std::exception& error) {
    status = CorruptData(Concat(file, ": not JSON that can be read: ", Quote(error.what())));
  }
  if (!status.ok()) return status;
  if (!parsed.is_object()) return CorruptData(Concat(file, ": wanted a JSON object, got ", parsed.type_name()));
  return parsed;
}

std::string ShowJson(const nlohmann::json& value) {
  constexpr size_t kShownMax = 200;
  if (value.is_structured() && value.size() > 16) return Concat("an ", value.type_name(), " of ", value.size());
  // Escaped to ASCII; what cannot be UTF-8 does not come out of the parser.
  std::string shown = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (shown.size() > kShownMax) shown = shown.substr(0, kShownMax) + "...";
  return shown;
}

Result<bool> JsonBool(const nlohmann::json& object, const char* key, bool fallback, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end()) return fallback;
  if (!found->is_boolean())
    return CorruptData(Concat(where, ".", key, ": wanted true or false, got ", ShowJson(*found)));
  return found->get<bool>();
}

Result<uint32_t> JsonId(const nlohmann::json& value, const std::string& where) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= 0xFFFFFFFFu) {
    return CorruptData(Concat(where, ": wanted an id, got ", ShowJson(value)));
  }
  return static_cast<uint32_t>(value.get<uint64_t>());
}

Result<std::vector<std::pair<std::string, uint32_t>>> JsonVocab(const nlohmann::json& object,
                                                                const std::string& where) {
  if (!object.is_object()) return CorruptData(Concat(where, ": wanted an object, got ", object.type_name()));
  std::vector<std::pair<std::string, uint32_t>> vocab;
  vocab.reserve(object.size());
  for (const auto& [spelling, value] : object.items()) {
    GLINT_ASSIGN_OR_RETURN(const uint32_t id, JsonId(value, Concat(where, "[", Quote(spelling), "]")));
    vocab.emplace_back(spelling, id);
  }
  return vocab;
}

Result<AddedToken> JsonAddedToken(const nlohmann::json& object, uint32_t id, bool special_fallback,
                                  const std::string& where) {
  if (!object.is_object()) return CorruptData(Concat(where, ": wanted an object, got ", object.type_name()));
  AddedToken token;
  token.id = id;
  const auto content = object.find("content");
  if (content == object.end() || !content->is_string() || content->get_ref<const std::string&>().empty()) {
    return CorruptData(Concat(where, ".content: wanted the token's text"));
  }
  token.content = content->get<std::string>();
  GLINT_ASSIGN_OR_RETURN(const bool single_word, JsonBool(object, "single_word", false, where));
  if (single_word) return Unsupported(Concat(where, ".single_word: wanted false, got true"));
  GLINT_ASSIGN_OR_RETURN(token.special, JsonBool(object, "special", special_fallback, where));
  GLINT_ASSIGN_OR_RETURN(token.normalized, JsonBool(object, "normalized", !token.special, where));
  GLINT_ASSIGN_OR_RETURN(token.strips_left, JsonBool(object, "lstrip", false, where));
  GLINT_ASSIGN_OR_RETURN(token.strips_right, JsonBool(object, "rstrip", false, where));
  return token;
}

}  // namespace glint
