// The weights of a Hugging Face folder: one model.safetensors, or shards named by model.safetensors.index.json.
#ifndef GLINT_STORAGE_CHECKPOINT_SAFETENSORS_H_
#define GLINT_STORAGE_CHECKPOINT_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
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

// Reads a tensor's rows (of a vector: the one row) as floats, best in ascending order: a buffer holds what comes next.
// Thread-compatible.
class RowReader {
 public:
  // REQUIRES: the tensor is of a readable type and has one or two dimensions; both outlive this.
  RowReader(const Safetensors* checkpoint, const TensorInfo* tensor, uint64_t buffer_bytes = 8 << 20);

  // kCorruptData names tensor and index where an element is NaN or infinite.
  Status Read(uint64_t row, std::span<float> into);

 private:
  const Safetensors* checkpoint_;
  const TensorInfo* tensor_;
  uint64_t row_bytes_;
  uint64_t rows_per_read_;
  uint64_t first_row_ = 0;
  uint64_t row_count_ = 0;  // in the buffer
  std::vector<std::byte> buffer_;
};

// The same for columns of a matrix: reads panels of neighbouring columns, row piece by row piece, so that a matrix of
// any size is transposed in bounded memory with reads that are long enough.
class ColumnReader {
 public:
  ColumnReader(const Safetensors* checkpoint, const TensorInfo* tensor, uint64_t panel_bytes = 192 << 20);

  Status Read(uint64_t column, std::span<float> into);

 private:
  Status LoadPanel(uint64_t column);
  Status LoadStrip(uint64_t column);

  const Safetensors* checkpoint_;
  const TensorInfo* tensor_;
  uint64_t rows_;
  uint64_t columns_;
  uint64_t panel_columns_;  // a multiple of kStripColumns
  uint64_t panel_first_ = 0;
  uint64_t panel_count_ = 0;  // columns in the panel
  uint64_t strip_first_ = 0;
  uint64_t strip_count_ = 0;
  std::vector<std::byte> panel_;  // [rows][panel_count_], as stored
  std::vector<float> strip_;      // [kStripColumns][rows]: a cache line of each row, transposed
};

}  // namespace glint

#endif  // GLINT_STORAGE_CHECKPOINT_SAFETENSORS_H_
