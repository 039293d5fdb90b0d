#include "storage/format/strict_json.h"

#include <exception>
#include <optional>

#include "glint/base/text.h"

namespace glint {
namespace {

using Json = nlohmann::json;

const Json& Nothing() {
  static const Json nothing;
  return nothing;
}

// Refuses what a document parser would take: deep nesting, great numbers of values, keys given twice.
class LimitsSax : public nlohmann::json_sax<Json> {
 public:
  explicit LimitsSax(const JsonLimits& limits) : limits_(limits) {}
  const std::string& problem() const { return problem_; }

  bool null() override { return CountValue(); }
  bool boolean(bool) override { return CountValue(); }
  bool number_integer(number_integer_t) override { return CountValue(); }
  bool number_unsigned(number_unsigned_t) override { return CountValue(); }
  bool number_float(number_float_t, const string_t&) override { return CountValue(); }
  bool string(string_t&) override { return CountValue(); }
  bool binary(binary_t&) override { return CountValue(); }
  bool start_object(size_t) override {
    keys_.emplace_back();
    return Open();
  }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second) return Refuse(Concat("key ", Quote(name), " is given twice"));
    return true;
  }
  bool end_object() override {
    keys_.pop_back();
    --depth_;
    return true;
  }
  bool start_array(size_t) override { return Open(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Refuse(Concat("not JSON at its byte ", position));
  }

 private:
  bool Refuse(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }
  bool CountValue() {
    if (++values_ > limits_.values_max)
      return Refuse(Concat("wanted at most ", limits_.values_max, " values, got more"));
    return true;
  }
  bool Open() {
    if (++depth_ > limits_.depth_max)
      return Refuse(Concat("wanted a depth of at most ", limits_.depth_max, ", got more"));
    return CountValue();
  }

  const JsonLimits limits_;
  size_t depth_ = 0;
  size_t values_ = 0;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
  std::string problem_;
};

std::optional<uint64_t> ParseHash(const Json& value) {
  if (!value.is_string()) return std::nullopt;
  const auto& text = value.get_ref<const std::string&>();
  if (text.size() != 18 || text[0] != '0' || text[1] != 'x') return std::nullopt;
  uint64_t hash = 0;
  for (const char c : std::string_view(text).substr(2)) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'a' && c <= 'f')) return std::nullopt;
    hash = hash << 4 | static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return hash;
}

std::string Describe(const Json& value) {
  if (value.is_object() || value.is_array()) return value.is_object() ? "an object" : "an array";
  if (value.is_string()) return Quote(value.get_ref<const std::string&>());
  return value.dump();  // null, true, false or a number: cannot throw
}

}  // namespace

Result<Json> ParseStrictJson(std::string_view text, const JsonLimits& limits, std::string_view where) {
  try {
    LimitsSax sax(limits);
    if (!Json::sax_parse(text.begin(), text.end(), &sax)) return CorruptData(Concat(where, ": ", sax.problem()));
    return Json::parse(text.begin(), text.end());
  } catch (const std::exception& error) {
    return CorruptData(Concat(where, ": ", Quote(error.what())));
  }
}

void JsonFault::Set(const std::string& key, const std::string& wanted, const std::string& got) {
  if (ok()) status_ = CorruptData(Concat(where_, ": key ", Quote(key), ": wanted ", wanted, ", got ", got));
}

void JsonFault::Set(Status status) {
  if (ok()) status_ = std::move(status);
}

JsonObject::JsonObject(const Json& value, std::string path, JsonFault* fault)
    : value_(value), path_(std::move(path)), fault_(fault) {
  if (!value.is_object()) fault_->Set(path_, "an object", Describe(value));
}

std::string JsonObject::KeyPath(std::string_view key) const {
  return path_.empty() ? std::string(key) : Concat(path_, ".", key);
}

const Json* JsonObject::Find(const char* key) {
  if (!fault_->ok()) return nullptr;
  known_.insert(key);
  const auto found = value_.find(key);
  if (found == value_.end()) {
    fault_->Set(KeyPath(key), "a value", "none");
    return nullptr;
  }
  return &*found;
}

uint64_t JsonObject::Unsigned(const char* key, uint64_t least, uint64_t most) {
  const Json* value = Find(key);
  if (value == nullptr) return 0;
  if (value->is_number_unsigned()) {
    const auto number = value->get<uint64_t>();
    if (number >= least && number <= most) return number;
  }
  fault_->Set(KeyPath(key), Concat("a whole number from ", least, " to ", most), Describe(*value));
  return 0;
}

int64_t JsonObject::Integer(const char* key, int64_t least, int64_t most) {
  const Json* value = Find(key);
  if (value == nullptr) return 0;
  const bool fits = value->is_number_unsigned() ? value->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)
                                                : value->is_number_integer();
  if (fits) {
    const auto number = value->get<int64_t>();
    if (number >= least && number <= most) return number;
  }
  fault_->Set(KeyPath(key), Concat("a whole number from ", least, " to ", most), Describe(*value));
  return 0;
}

double JsonObject::Number(const char* key) {
  const Json* value = Find(key);
  if (value == nullptr) return 0;
  if (value->is_number()) return value->get<double>();
  fault_->Set(KeyPath(key), "a number", Describe(*value));
  return 0;
}

bool JsonObject::Boolean(const char* key) {
  const Json* value = Find(key);
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  fault_->Set(KeyPath(key), "true or false", Describe(*value));
  return false;
}

std::string JsonObject::String(const char* key, size_t bytes_max) {
  const Json* value = Find(key);
  if (value == nullptr) return {};
  if (value->is_string() && value->get_ref<const std::string&>().size() <= bytes_max) return value->get<std::string>();
  fault_->Set(KeyPath(key), Concat("text of at most ", bytes_max, " bytes"), Describe(*value));
  return {};
}

const Json& JsonObject::Array(const char* key) {
  const Json* value = Find(key);
  if (value == nullptr) return Nothing();
  if (value->is_array()) return *value;
  fault_->Set(KeyPath(key), "an array", Describe(*value));
  return Nothing();
}

const Json& JsonObject::Object(const char* key) {
  const Json* value = Find(key);
  if (value == nullptr) return Nothing();
  if (value->is_object()) return *value;
  fault_->Set(KeyPath(key), "an object", Describe(*value));
  return Nothing();
}

const Json& JsonObject::Any(const char* key) {
  const Json* value = Find(key);
  return value == nullptr ? Nothing() : *value;
}

void JsonObject::Done() {
  if (!fault_->ok()) return;
  for (const auto& [key, value] : value_.items()) {
    if (!known_.contains(key)) {
      fault_->Set(CorruptData(Concat(fault_->where(), ": unknown key ", Quote(KeyPath(key)))));
      return;
    }
  }
}

std::vector<uint64_t> ReadHashes(const Json& array, const std::string& path, JsonFault* fault) {
  std::vector<uint64_t> hashes;
  hashes.reserve(array.size());
  for (size_t i = 0; i < array.size(); ++i) {
    const auto hash = ParseHash(array[i]);
    if (!hash) {
      fault->Set(Concat(path, "[", i, "]"), "0x and 16 digits", Describe(array[i]));
      return {};
    }
    hashes.push_back(*hash);
  }
  return hashes;
}

}  // namespace glint
