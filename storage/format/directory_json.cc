#include "storage/format/directory_json.h"

#include <array>
#include <limits>
#include <utility>

#include "glint/base/text.h"
#include "storage/format/strict_json.h"

namespace glint {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr uint64_t kAnyUnsigned = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kAny32 = std::numeric_limits<uint32_t>::max();
constexpr size_t kTensorNameBytesMax = 64;

constexpr std::array<std::pair<Activation, std::string_view>, 1> kActivations = {{{Activation::kRelu, "relu"}}};

std::string_view ActivationName(Activation activation) {
  for (const auto& [value, name] : kActivations) {
    if (value == activation) return name;
  }
  GLINT_CHECK(false);
}

OrderedJson ToJson(const ModelConfig& config) {
  return {{"architecture", config.architecture},
          {"name", config.name},
          {"synthetic", config.synthetic},
          {"layer_count", config.layer_count},
          {"hidden_size", config.hidden_size},
          {"ffn_size", config.ffn_size},
          {"head_count", config.head_count},
          {"vocab_size", config.vocab_size},
          {"embedding_size", config.embedding_size},
          {"context_max", config.context_max},
          {"position_offset", config.position_offset},
          {"norm_before", config.norm_before},
          {"final_norm", config.final_norm},
          {"gated", config.gated},
          {"tied_output", config.tied_output},
          {"activation", ActivationName(config.activation)},
          {"norm_epsilon", static_cast<double>(config.norm_epsilon)},
          {"bos_id", config.bos_id},
          {"eos_ids", config.eos_ids},
          {"activity", config.activity}};
}

OrderedJson ToJson(const Section& section) {
  OrderedJson checksums = OrderedJson::array();
  for (const uint64_t checksum : section.checksums) checksums.push_back(Hex64(checksum));
  return {{"offset", section.extent.offset}, {"bytes", section.extent.bytes}, {"checksums", std::move(checksums)}};
}

OrderedJson ToJson(const ArrayRef& ref) { return {{"table", ref.table}, {"offset", ref.offset}, {"count", ref.count}}; }

class DirectoryReader {
 public:
  explicit DirectoryReader(JsonFault* fault) : fault_(fault) {}

  ModelDirectory Read(const Json& document) {
    ModelDirectory directory;
    JsonObject root(document, "", fault_);
    const std::string format = root.String("format", kNameBytesMax);
    if (fault_->ok() && format != "glint") fault_->Set("format", "'glint'", Quote(format));
    root.Unsigned("version", kFormatVersion, kFormatVersion);
    directory.writer = root.String("writer", kNameBytesMax);
    directory.config = ReadConfig(root.Object("config"));
    directory.type = ReadType(&root);
    const Json& tokenizer = root.Any("tokenizer");
    if (!tokenizer.is_null()) directory.tokenizer = ReadSection(tokenizer, "tokenizer");
    ForEach(&root, "tables",
            [&](const Json& value, const std::string& path) { directory.tables.push_back(ReadSection(value, path)); });
    ForEach(&root, "vectors",
            [&](const Json& value, const std::string& path) { directory.vectors.push_back(ReadVector(value, path)); });
    ForEach(&root, "matrices",
            [&](const Json& value, const std::string& path) { directory.matrices.push_back(ReadMatrix(value, path)); });
    ForEach(&root, "ffn", [&](const Json& value, const std::string& path) {
      directory.ffn.push_back(ReadFfn(value, path, directory.config));
    });
    root.Done();
    return directory;
  }

 private:
  template <typename Each>
  void ForEach(JsonObject* object, const char* key, Each each) {
    const Json& array = object->Array(key);
    for (size_t i = 0; fault_->ok() && i < array.size(); ++i) each(array[i], Concat(key, "[", i, "]"));
  }

  ModelConfig ReadConfig(const Json& value) {
    ModelConfig config;
    if (!fault_->ok()) return config;
    JsonObject object(value, "config", fault_);
    const auto number = [&](const char* key) { return static_cast<uint32_t>(object.Unsigned(key, 0, kAny32)); };
    config.architecture = object.String("architecture", kNameBytesMax);
    config.name = object.String("name", kNameBytesMax);
    config.synthetic = object.Boolean("synthetic");
    config.layer_count = number("layer_count");
    config.hidden_size = number("hidden_size");
    config.ffn_size = number("ffn_size");
    config.head_count = number("head_count");
    config.vocab_size = number("vocab_size");
    config.embedding_size = number("embedding_size");
    config.context_max = number("context_max");
    config.position_offset = number("position_offset");
    config.norm_before = object.Boolean("norm_before");
    config.final_norm = object.Boolean("final_norm");
    config.gated = object.Boolean("gated");
    config.tied_output = object.Boolean("tied_output");
    config.activation = ReadActivation(&object);
    config.norm_epsilon = ReadEpsilon(&object);
    config.bos_id = static_cast<TokenId>(object.Integer("bos_id", -1, kVocabSizeMax));
    const Json& eos_ids = object.Array("eos_ids");
    for (size_t i = 0; fault_->ok() && i < eos_ids.size(); ++i) {
      const bool fits = eos_ids[i].is_number_unsigned() && eos_ids[i].get<uint64_t>() < kVocabSizeMax;
      if (!fits) fault_->Set(Concat("config.eos_ids[", i, "]"), "a token id", "something else");
      if (fits) config.eos_ids.push_back(eos_ids[i].get<TokenId>());
    }
    config.activity = object.Number("activity");
    object.Done();
    if (fault_->ok()) {
      if (Status valid = ValidateModelConfig(config); !valid.ok()) {
        fault_->Set(Status(valid.code(), Concat(fault_->where(), ": ", valid.message())));
      }
    }
    return config;
  }

  // A double beyond float's range must not be converted: that is undefined.
  float ReadEpsilon(JsonObject* object) {
    const double value = object->Number("norm_epsilon");
    if (value >= 0 && value <= 1) return static_cast<float>(value);
    fault_->Set("config.norm_epsilon", "more than 0 and at most 1", Concat(value));
    return 0;
  }

  Activation ReadActivation(JsonObject* object) {
    const std::string got = object->String("activation", kNameBytesMax);
    for (const auto& [value, name] : kActivations) {
      if (got == name) return value;
    }
    if (fault_->ok()) {
      fault_->Set(Unsupported(Concat(fault_->where(), ": key 'config.activation': wanted 'relu', got ", Quote(got))));
    }
    return Activation::kRelu;
  }

  WeightType ReadType(JsonObject* object) {
    const std::string got = object->String("type", kNameBytesMax);
    if (!fault_->ok()) return WeightType::kF16;
    const auto type = WeightTypeFromName(got);
    if (!type) {
      fault_->Set(Unsupported(Concat(fault_->where(), ": key ", Quote(object->KeyPath("type")),
                                     ": wanted f32, f16, q8_0 or q4_0, got ", Quote(got))));
    }
    return type.value_or(WeightType::kF16);
  }

  Section ReadSection(const Json& value, const std::string& path) {
    Section section;
    JsonObject object(value, path, fault_);
    section.extent = ReadExtent(&object);
    section.checksums = ReadHashes(object.Array("checksums"), object.KeyPath("checksums"), fault_);
    object.Done();
    return section;
  }

  Extent ReadExtent(JsonObject* object) {
    Extent extent;
    extent.offset = object->Unsigned("offset", 0, kAnyUnsigned);
    extent.bytes = object->Unsigned("bytes", 1, kAnyUnsigned);
    return extent;
  }

  ArrayRef ReadArrayRef(JsonObject* object, const char* key) {
    ArrayRef ref;
    const Json& value = object->Object(key);
    if (!fault_->ok()) return ref;
    JsonObject array(value, object->KeyPath(key), fault_);
    ReadArrayRefKeys(&array, &ref);
    array.Done();
    return ref;
  }

  void ReadArrayRefKeys(JsonObject* object, ArrayRef* ref) {
    ref->table = static_cast<uint32_t>(object->Unsigned("table", 0, kAny32));
    ref->offset = object->Unsigned("offset", 0, kAnyUnsigned);
    ref->count = object->Unsigned("count", 1, kAnyUnsigned);
  }

  VectorEntry ReadVector(const Json& value, const std::string& path) {
    VectorEntry entry;
    JsonObject object(value, path, fault_);
    entry.name = object.String("name", kTensorNameBytesMax);
    ReadArrayRefKeys(&object, &entry.values);
    object.Done();
    return entry;
  }

  MatrixEntry ReadMatrix(const Json& value, const std::string& path) {
    MatrixEntry entry;
    JsonObject object(value, path, fault_);
    entry.name = object.String("name", kTensorNameBytesMax);
    entry.type = ReadType(&object);
    entry.rows = static_cast<uint32_t>(object.Unsigned("rows", 1, kAny32));
    entry.columns = static_cast<uint32_t>(object.Unsigned("columns", 1, kAny32));
    entry.extent = ReadExtent(&object);
    entry.checksums = ReadArrayRef(&object, "checksums");
    object.Done();
    return entry;
  }

  FfnEntry ReadFfn(const Json& value, const std::string& path, const ModelConfig& config) {
    FfnEntry entry;
    JsonObject object(value, path, fault_);
    const WeightType type = ReadType(&object);
    const auto neurons = static_cast<uint32_t>(object.Unsigned("neurons_per_bundle", 1, config.ffn_size));
    entry.extent = ReadExtent(&object);
    entry.first_checksums = ReadArrayRef(&object, "first_checksums");
    entry.rest_checksums = ReadArrayRef(&object, "rest_checksums");
    object.Done();
    if (!fault_->ok()) return entry;
    if (!BundleLayout::IsPossible(config.ffn_size, config.hidden_size, type, config.gated, neurons)) {
      fault_->Set(object.KeyPath("neurons_per_bundle"), Concat("granules of at most ", kGranuleBytesMax, " bytes"),
                  Concat(neurons, " neurons"));
      return entry;
    }
    entry.layout = BundleLayout(config.ffn_size, config.hidden_size, type, config.gated, neurons);
    return entry;
  }

  JsonFault* fault_;
};

}  // namespace

std::string SerializeDirectory(const ModelDirectory& directory) {
  OrderedJson tables = OrderedJson::array();
  for (const Section& table : directory.tables) tables.push_back(ToJson(table));
  OrderedJson vectors = OrderedJson::array();
  for (const VectorEntry& entry : directory.vectors) {
    OrderedJson vector = ToJson(entry.values);
    vector["name"] = entry.name;
    vectors.push_back(std::move(vector));
  }
  OrderedJson matrices = OrderedJson::array();
  for (const MatrixEntry& entry : directory.matrices) {
    matrices.push_back({{"name", entry.name},
                        {"type", WeightTypeName(entry.type)},
                        {"rows", entry.rows},
                        {"columns", entry.columns},
                        {"offset", entry.extent.offset},
                        {"bytes", entry.extent.bytes},
                        {"checksums", ToJson(entry.checksums)}});
  }
  OrderedJson ffn = OrderedJson::array();
  for (const FfnEntry& entry : directory.ffn) {
    ffn.push_back({{"type", WeightTypeName(entry.layout.type())},
                   {"neurons_per_bundle", entry.layout.neurons_per_bundle()},
                   {"offset", entry.extent.offset},
                   {"bytes", entry.extent.bytes},
                   {"first_checksums", ToJson(entry.first_checksums)},
                   {"rest_checksums", ToJson(entry.rest_checksums)}});
  }
  const OrderedJson document = {
      {"format", "glint"},
      {"version", kFormatVersion},
      {"writer", directory.writer},
      {"config", ToJson(directory.config)},
      {"type", WeightTypeName(directory.type)},
      {"tokenizer", directory.tokenizer.extent.bytes == 0 ? OrderedJson() : ToJson(directory.tokenizer)},
      {"tables", std::move(tables)},
      {"vectors", std::move(vectors)},
      {"matrices", std::move(matrices)},
      {"ffn", std::move(ffn)}};
  // A name that is not UTF-8 must not throw: such bytes become U+FFFD.
  return document.dump(-1, ' ', /*ensure_ascii=*/true, OrderedJson::error_handler_t::replace);
}

Result<ModelDirectory> DirectoryFromJson(std::string_view json, std::string_view where) {
  GLINT_ASSIGN_OR_RETURN(const Json document, ParseStrictJson(json, JsonLimits{}, where));
  JsonFault fault(where);
  ModelDirectory directory = DirectoryReader(&fault).Read(document);
  if (!fault.ok()) return fault.status();
  return directory;
}

}  // namespace glint
