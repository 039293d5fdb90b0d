#include "storage/checkpoint/hf_config.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "glint/base/text.h"
#include "storage/checkpoint/text_file.h"
#include "storage/flash/flash_file.h"
#include "storage/format/strict_json.h"

namespace glint {
namespace {

using nlohmann::json;

// OPT's position table begins with two rows that no position uses.
constexpr uint32_t kOptPositionOffset = 2;

// Reads keys that may be absent (or null, which means the same). After the first fault, nothing changes any more.
class ConfigReader {
 public:
  ConfigReader(const json& object, std::string_view file) : object_(object), file_(file) {}

  uint32_t Count(const char* key, uint32_t fallback) {
    const json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_number_unsigned() || value->get<uint64_t>() < 1 || value->get<uint64_t>() > kCountMax) {
      Fault(key, Concat("a number from 1 to ", kCountMax), *value);
      return fallback;
    }
    return static_cast<uint32_t>(value->get<uint64_t>());
  }

  bool Flag(const char* key, bool fallback) {
    const json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) {
      Fault(key, "true or false", *value);
      return fallback;
    }
    return value->get<bool>();
  }

  std::string Text(const char* key, std::string fallback) {
    const json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_string()) {
      Fault(key, "a string", *value);
      return fallback;
    }
    return value->get<std::string>();
  }

  // One id or a list of them.
  std::vector<TokenId> Ids(const char* key, std::vector<TokenId> fallback, uint32_t vocab_size) {
    const json* value = Find(key);
    if (value == nullptr) return fallback;
    std::vector<TokenId> ids;
    const size_t count = value->is_array() ? value->size() : 1;
    for (size_t i = 0; i < count; ++i) {
      const json& id = value->is_array() ? (*value)[i] : *value;
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= vocab_size) {
        Fault(key, Concat("token ids below vocab_size ", vocab_size), id);
        return fallback;
      }
      ids.push_back(static_cast<TokenId>(id.get<uint64_t>()));
    }
    return ids;
  }

  bool Has(const char* key) const { return Find(key) != nullptr; }
  const Status& status() const { return status_; }

 private:
  static constexpr uint32_t kCountMax = 1U << 30;

  const json* Find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  void Fault(const char* key, const std::string& wanted, const json& got) {
    if (!status_.ok()) return;
    const std::string text =
        got.is_structured() ? got.type_name() : got.dump(-1, ' ', true, json::error_handler_t::replace);
    status_ = CorruptData(Concat(Quote(file_), ": key '", key, "': wanted ", wanted, ", got ", Quote(text)));
  }

  const json& object_;
  std::string_view file_;
  Status status_;
};

Result<json> ParseObject(std::string_view text, std::string_view file) {
  GLINT_ASSIGN_OR_RETURN(json object, ParseStrictJson(text, {.depth_max = 16, .values_max = 100000}, Quote(file)));
  if (!object.is_object()) return CorruptData(Concat(Quote(file), ": wanted an object, got ", object.type_name()));
  return object;
}

// What is not OPT is refused by its name before anything else is read.
Status CheckSupported(ConfigReader& reader, std::string_view file) {
  const std::string model_type = reader.Text("model_type", "");
  const std::string activation = reader.Text("activation_function", "relu");
  GLINT_RETURN_IF_ERROR(reader.status());
  if (model_type != "opt") {
    return Unsupported(Concat(Quote(file), ": model_type ", model_type.empty() ? "is absent" : Quote(model_type),
                              "; glint packs 'opt' models so far"));
  }
  if (activation != "relu") {
    return Unsupported(
        Concat(Quote(file), ": activation_function ", Quote(activation), "; glint packs OPT with 'relu'"));
  }
  if (reader.Has("quantization_config")) {
    return Unsupported(Concat(Quote(file), ": key 'quantization_config': the weights are quantised already; ",
                              "glint packs F32, F16 and BF16"));
  }
  return Status::Ok();
}

// Says what `folder` is where it has no config.json.
Status NoConfig(const std::string& folder, const Status& why) {
  std::error_code error;
  if (!std::filesystem::exists(folder, error) && !error) return NotFound(Concat(Quote(folder), " does not exist"));
  if (!std::filesystem::is_regular_file(folder, error)) {
    if (why.code() != StatusCode::kNotFound) return why;
    return NotFound(Concat(Quote(folder), " has no config.json; wanted a Hugging Face checkpoint's folder"));
  }
  GLINT_ASSIGN_OR_RETURN(const FlashFile file, FlashFile::Open(folder, DirectIo::kOff, {}));
  std::string magic(std::min<uint64_t>(file.bytes(), 4), '\0');
  GLINT_RETURN_IF_ERROR(file.ReadBuffered(0, std::as_writable_bytes(std::span(magic))));
  if (magic == "GGUF") {
    return Unsupported(Concat(Quote(folder), " is a GGUF file, which glint does not pack yet; ",
                              "give it the Hugging Face checkpoint's folder"));
  }
  return InvalidArgument(Concat(Quote(folder), " is a file; wanted a Hugging Face checkpoint's folder"));
}

// The folder's name, without what a terminal should not be sent and what the directory's JSON cannot hold.
std::string NameOf(const std::string& folder) {
  std::error_code error;
  const json called = std::filesystem::canonical(folder, error).filename().string();
  // Bytes that are not UTF-8 are left out: a character in their place could make the name longer than it may be.
  std::string name = json::parse(called.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::ignore));
  for (char& c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '_';
  }
  return name;
}

}  // namespace

Result<HfConfig> ParseHfConfig(std::string_view config_json, std::string_view generation_config_json,
                               std::string_view config_file, std::string_view generation_config_file) {
  GLINT_ASSIGN_OR_RETURN(const json object, ParseObject(config_json, config_file));
  ConfigReader reader(object, config_file);
  GLINT_RETURN_IF_ERROR(CheckSupported(reader, config_file));

  HfConfig hf;
  ModelConfig& config = hf.config;
  config.architecture = "opt";
  config.layer_count = reader.Count("num_hidden_layers", 12);
  config.hidden_size = reader.Count("hidden_size", 768);
  config.ffn_size = reader.Count("ffn_dim", 3072);
  config.head_count = reader.Count("num_attention_heads", 12);
  config.vocab_size = reader.Count("vocab_size", 50272);
  config.embedding_size = reader.Count("word_embed_proj_dim", config.hidden_size);
  config.context_max = reader.Count("max_position_embeddings", 2048);
  config.position_offset = kOptPositionOffset;
  config.norm_before = reader.Flag("do_layer_norm_before", true);
  config.final_norm = config.norm_before && !reader.Flag("_remove_final_layer_norm", false);
  config.tied_output = reader.Flag("tie_word_embeddings", true);
  config.norm_epsilon = 1e-5F;  // OPT takes the default of torch's LayerNorm
  hf.has_biases = reader.Flag("enable_bias", true);
  hf.has_norm_parameters = reader.Flag("layer_norm_elementwise_affine", true);
  const uint32_t head_size = reader.Count("head_dim", config.head_size());
  // A null says that there is none; an absent key has transformers' default.
  if (!object.contains("bos_token_id") || reader.Has("bos_token_id")) {
    const std::vector<TokenId> bos = reader.Ids("bos_token_id", {2}, config.vocab_size);
    config.bos_id = bos.size() == 1 ? bos[0] : -1;
  }
  std::vector<TokenId> eos;
  if (!object.contains("eos_token_id")) eos = {2};
  config.eos_ids = reader.Ids("eos_token_id", eos, config.vocab_size);
  GLINT_RETURN_IF_ERROR(reader.status());
  if (config.hidden_size % config.head_count == 0 && head_size != config.head_size()) {
    return Unsupported(Concat(Quote(config_file), ": key 'head_dim': wanted hidden_size / num_attention_heads = ",
                              config.head_size(), ", got ", head_size));
  }
  if (!generation_config_json.empty()) {
    GLINT_ASSIGN_OR_RETURN(const json generation, ParseObject(generation_config_json, generation_config_file));
    ConfigReader generation_reader(generation, generation_config_file);
    config.eos_ids = generation_reader.Ids("eos_token_id", config.eos_ids, config.vocab_size);
    GLINT_RETURN_IF_ERROR(generation_reader.status());
  }
  if (Status status = ValidateModelConfig(config); !status.ok()) {
    return Status(status.code(), Concat(Quote(config_file), ": ", status.message()));
  }
  return hf;
}

Result<HfConfig> ReadHfConfig(const std::string& folder) {
  const std::string config_file = folder + "/config.json";
  const std::string generation_file = folder + "/generation_config.json";
  Result<std::string> config_json = ReadTextFile(config_file, kJsonFileBytesMax);
  if (!config_json.ok()) return NoConfig(folder, config_json.status());
  std::string generation_json;
  if (PathExists(generation_file)) {
    GLINT_ASSIGN_OR_RETURN(generation_json, ReadTextFile(generation_file, kJsonFileBytesMax));
  }
  GLINT_ASSIGN_OR_RETURN(HfConfig hf, ParseHfConfig(*config_json, generation_json, config_file, generation_file));
  hf.config.name = NameOf(folder).substr(0, kNameBytesMax);
  return hf;
}

}  // namespace glint
