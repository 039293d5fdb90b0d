// One safetensors file: 8 bytes of header length, a JSON header that says where each tensor lies, the tensors' bytes.
// https://github.com/huggingface/safetensors#format
#ifndef GLINT_STORAGE_CHECKPOINT_SAFETENSORS_FILE_H_
#define GLINT_STORAGE_CHECKPOINT_SAFETENSORS_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "glint/base/status.h"
#include "storage/flash/extent.h"
#include "storage/flash/flash_file.h"

namespace glint {

// The format allows 100 MB; a header of ours describes a million tensors long before that.
inline constexpr uint64_t kSafetensorsHeaderBytesMax = 64 << 20;
inline constexpr uint64_t kSafetensorsTensorsMax = 1 << 18;
inline constexpr uint64_t kSafetensorsDimensionsMax = 8;

enum class ElementType : uint8_t { kF32, kF16, kBf16, kOther };  // kOther: well-formed, but nothing we can read

struct TensorInfo {
  std::string name;
  ElementType type = ElementType::kOther;
  std::string type_name;  // as the header has it, for messages
  uint32_t element_bytes = 0;
  std::vector<uint64_t> shape;
  Extent extent;       // of the file; bytes = product of the shape * element_bytes
  uint32_t shard = 0;  // which file of a sharded checkpoint
};

// "[4096, 256]", for messages.
std::string ShapeText(const std::vector<uint64_t>& shape);

struct SafetensorsFile {
  FlashFile file;
  std::vector<TensorInfo> tensors;  // by offset

  // Reads and validates the header: its length, JSON, types, shapes that agree with the bytes, offsets inside the file
  // that neither overlap nor leave holes, no name twice. Errors name file, tensor, offset, wanted, got.
  static Result<SafetensorsFile> Open(const std::string& path);
};

}  // namespace glint

#endif  // GLINT_STORAGE_CHECKPOINT_SAFETENSORS_FILE_H_
