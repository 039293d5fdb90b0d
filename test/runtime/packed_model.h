// Checkpoints beside the tests, packed as `glint pack` packs them.
#ifndef GLINT_TEST_RUNTIME_PACKED_MODEL_H_
#define GLINT_TEST_RUNTIME_PACKED_MODEL_H_

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "glint/base/status.h"
#include "storage/checkpoint/opt_packer.h"
#include "tokenizer/tokenizer.h"

namespace glint::test {

// A folder under test/models.
inline std::string CheckpointFolder(const std::string& name) {
  return std::string(GLINT_TEST_DATA) + "/models/" + name;
}

inline Result<ModelDirectory> PackCheckpoint(const std::string& folder, const std::string& path, WeightType type) {
  bool has_tokenizer = false;
  GLINT_ASSIGN_OR_RETURN(const std::vector<std::byte> tokenizer, BuildTokenizerFromFolder(folder, &has_tokenizer));
  return PackOpt(folder, path, {.type = type, .tokenizer_section = tokenizer});
}

inline std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// References are part of the tree: one that cannot be parsed ends the test program.
inline nlohmann::json ReadJson(const std::string& path) { return nlohmann::json::parse(ReadWhole(path)); }

}  // namespace glint::test

#endif  // GLINT_TEST_RUNTIME_PACKED_MODEL_H_
