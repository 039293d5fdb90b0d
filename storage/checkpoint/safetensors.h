// The weights of a Hugging Face folder: one model.safetensors, or shards named by model.safetensors.index.json.
#ifndef GLINT_STORAGE_CHECKPOINT_SAFETENSORS_H_
#define GLINT_STORAGE_CHECKPOINT_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "glint/base/status.h"
#include "storage/checkpoint/safetensors_file.h"

namespace glint {

inline constexpr uint64_t kShardsMax = 1024;

// Const after open; thread-safe.
class Safetensors {
 public:
  // kNotFound where the folder has no safetensors; kUnsupported where it has pytorch_model.bin alone (names the command
  // that converts it); kCorruptData for an index or a shard that does not hold what it should.
  static Result<Safetensors> Open(const std::string& folder);

  // nullptr where there is none of that name.
  const TensorInfo* Find(std::string_view name) const;
  // All of them, by name.
  const std::map<std::string, TensorInfo, std::less<>>& tensors() const { return tensors_; }
  const FlashFile& FileOf(const TensorInfo& tensor) const { return files_[tensor.shard]; }

 private:
  Safetensors() = default;
  Status AddFile(const std::string& path);

  std::vector<FlashFile> files_;  // by shard
  std::map<std::string, TensorInfo, std::less<>> tensors_;
};

}  // namespace glint

#endif  // GLINT_STORAGE_CHECKPOINT_SAFETENSORS_H_
