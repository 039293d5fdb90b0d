// Rows and columns of a checkpoint's tensors as floats, in bounded memory whatever the tensor's size.
#ifndef GLINT_STORAGE_CHECKPOINT_TENSOR_READER_H_
#define GLINT_STORAGE_CHECKPOINT_TENSOR_READER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "glint/base/status.h"
#include "storage/checkpoint/safetensors.h"

namespace glint {

// Long enough that a device reads at its best, short enough to be small beside a column panel.
inline constexpr uint64_t kRowBufferBytes = 8 << 20;
// fc2 of OPT-66B (9216 x 36864) comes in four panels, its row pieces are 20 KiB long.
inline constexpr uint64_t kPanelBytes = 192 << 20;

// Ok where `tensor` can be read: F32, F16 or BF16, and one or two dimensions. A vector counts as one row.
Status CheckReadable(const Safetensors& checkpoint, const TensorInfo& tensor);

// Reads rows, best in ascending order: a buffer holds what comes next. Thread-compatible.
class RowReader {
 public:
  // REQUIRES: CheckReadable; both outlive this.
  RowReader(const Safetensors* checkpoint, const TensorInfo* tensor, uint64_t buffer_bytes = kRowBufferBytes);

  // kCorruptData names file, tensor, index and offset where an element is NaN or infinite.
  // REQUIRES: the row exists, and `into` is as long.
  Status Read(uint64_t row, std::span<float> into);

 private:
  const Safetensors* checkpoint_;
  const TensorInfo* tensor_;
  uint64_t columns_;
  uint64_t rows_per_read_;
  uint64_t first_row_ = 0;
  uint64_t row_count_ = 0;  // in the buffer
  std::vector<std::byte> buffer_;
};

// The same for columns: reads panels of neighbouring columns, one piece of every row, so that a matrix is transposed
// with reads that are long enough. Best in ascending order. Thread-compatible.
class ColumnReader {
 public:
  // REQUIRES: CheckReadable; both outlive this.
  ColumnReader(const Safetensors* checkpoint, const TensorInfo* tensor, uint64_t panel_bytes = kPanelBytes);

  Status Read(uint64_t column, std::span<float> into);

 private:
  Status LoadPanel(uint64_t first);
  void LoadStrip(uint64_t first);

  const Safetensors* checkpoint_;
  const TensorInfo* tensor_;
  uint64_t rows_;
  uint64_t columns_;
  uint64_t panel_columns_;    // of a full panel; whole strips
  uint64_t panel_first_ = 0;  // column
  uint64_t panel_count_ = 0;  // columns in `panel_`
  uint64_t strip_first_ = 0;
  uint64_t strip_count_ = 0;
  std::vector<std::byte> panel_;  // [row][column], as stored
  std::vector<float> strip_;      // [column][row]: the columns that share a cache line of the panel
};

}  // namespace glint

#endif  // GLINT_STORAGE_CHECKPOINT_TENSOR_READER_H_
