// Reads JSON from a file that is not trusted: limits on depth and count, no repeated keys, no unknown ones, and errors
// that name the key. Only for .cc files of storage: it speaks nlohmann's types.
#ifndef GLINT_STORAGE_FORMAT_STRICT_JSON_H_
#define GLINT_STORAGE_FORMAT_STRICT_JSON_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "glint/base/status.h"

namespace glint {

struct JsonLimits {
  size_t depth_max = 8;
  size_t values_max = 100000;
};

// Returns the parsed text. Errors are kCorruptData and begin with `where`.
Result<nlohmann::json> ParseStrictJson(std::string_view text, const JsonLimits& limits, std::string_view where);

// The first error of a parse; readers below do nothing more once there is one.
class JsonFault {
 public:
  explicit JsonFault(std::string_view where) : where_(where) {}
  void Set(const std::string& key, const std::string& wanted, const std::string& got);
  void Set(Status status);
  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  const std::string& where() const { return where_; }

 private:
  std::string where_;
  Status status_;
};

// Reads the keys of one object. Every getter sets the fault where the key is absent or not as wanted, and then returns
// a zero; Done() sets it where the object has keys that nobody asked for.
class JsonObject {
 public:
  // `path` names the object in messages: "ffn[3]"; empty for the document. `value` and `fault` outlive this.
  JsonObject(const nlohmann::json& value, std::string path, JsonFault* fault);

  uint64_t Unsigned(const char* key, uint64_t least, uint64_t most);
  int64_t Integer(const char* key, int64_t least, int64_t most);
  double Number(const char* key);
  bool Boolean(const char* key);
  std::string String(const char* key, size_t bytes_max);
  // The value of `key`: an array, an object, or whatever it is. A null value stands for what is not there.
  const nlohmann::json& Array(const char* key);
  const nlohmann::json& Object(const char* key);
  const nlohmann::json& Any(const char* key);
  void Done();

  // "ffn[3].type", for messages.
  std::string KeyPath(std::string_view key) const;

 private:
  const nlohmann::json* Find(const char* key);

  const nlohmann::json& value_;
  std::string path_;
  JsonFault* fault_;
  std::set<std::string_view> known_;
};

// An array of hashes, each "0x" and 16 lower-case digits.
std::vector<uint64_t> ReadHashes(const nlohmann::json& array, const std::string& path, JsonFault* fault);

}  // namespace glint

#endif  // GLINT_STORAGE_FORMAT_STRICT_JSON_H_
