#include "storage/checkpoint/tensor_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "glint/base/check.h"
#include "glint/base/float16.h"
#include "glint/base/text.h"
#include "glint/base/units.h"

namespace glint {
namespace {

constexpr uint64_t kStripColumns = 32;

uint64_t RowCount(const TensorInfo& tensor) { return tensor.shape.size() == 2 ? tensor.shape[0] : 1; }
uint64_t ColumnCount(const TensorInfo& tensor) { return tensor.shape.back(); }

float LoadElement(ElementType type, const std::byte* from) {
  if (type == ElementType::kF32) {
    float value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return type == ElementType::kF16 ? HalfToFloat(bits) : Bfloat16ToFloat(bits);
}

Status NotFinite(const Safetensors& checkpoint, const TensorInfo& tensor, uint64_t row, uint64_t column, float value) {
  const uint64_t element = row * ColumnCount(tensor) + column;
  return CorruptData(Concat(Quote(checkpoint.FileOf(tensor).name()), ": tensor ", Quote(tensor.name), ", element ",
                            tensor.shape.size() == 2 ? ShapeText({row, column}) : ShapeText({column}), " at offset ",
                            tensor.extent.offset + element * tensor.element_bytes, ": wanted a finite number, got ",
                            value));
}

bool AllFinite(std::span<const float> values) {
  bool finite = true;
  for (const float value : values) finite &= std::fabs(value) < HUGE_VALF;  // false for NaN
  return finite;
}

}  // namespace

Status CheckReadable(const Safetensors& checkpoint, const TensorInfo& tensor) {
  const auto what = [&] {
    return Concat(Quote(checkpoint.FileOf(tensor).name()), ": tensor ", Quote(tensor.name), ": ");
  };
  if (tensor.type == ElementType::kOther) {
    return Unsupported(Concat(what(), "wanted dtype F32, F16 or BF16, got ", tensor.type_name));
  }
  if (tensor.shape.empty() || tensor.shape.size() > 2 || tensor.extent.bytes == 0) {
    return CorruptData(Concat(what(), "wanted a vector or a matrix, got shape ", ShapeText(tensor.shape)));
  }
  return Status::Ok();
}

RowReader::RowReader(const Safetensors* checkpoint, const TensorInfo* tensor, uint64_t buffer_bytes)
    : checkpoint_(checkpoint), tensor_(tensor), columns_(ColumnCount(*tensor)) {
  rows_per_read_ = std::max<uint64_t>(1, buffer_bytes / (columns_ * tensor->element_bytes));
}

Status RowReader::Read(uint64_t row, std::span<float> into) {
  GLINT_CHECK(row < RowCount(*tensor_) && into.size() == columns_);
  const uint64_t row_bytes = columns_ * tensor_->element_bytes;
  if (row < first_row_ || row >= first_row_ + row_count_) {
    row_count_ = 0;
    const uint64_t count = std::min(rows_per_read_, RowCount(*tensor_) - row);
    buffer_.resize(count * row_bytes);
    GLINT_RETURN_IF_ERROR(
        checkpoint_->FileOf(*tensor_).ReadBuffered(tensor_->extent.offset + row * row_bytes, buffer_));
    first_row_ = row;
    row_count_ = count;
  }
  const std::byte* from = buffer_.data() + (row - first_row_) * row_bytes;
  for (uint64_t i = 0; i < columns_; ++i) into[i] = LoadElement(tensor_->type, from + i * tensor_->element_bytes);
  if (AllFinite(into)) return Status::Ok();
  const auto bad = std::find_if(into.begin(), into.end(), [](float value) { return !std::isfinite(value); });
  return NotFinite(*checkpoint_, *tensor_, row, static_cast<uint64_t>(bad - into.begin()), *bad);
}

ColumnReader::ColumnReader(const Safetensors* checkpoint, const TensorInfo* tensor, uint64_t panel_bytes)
    : checkpoint_(checkpoint), tensor_(tensor), rows_(RowCount(*tensor)), columns_(ColumnCount(*tensor)) {
  const uint64_t fitting = AlignDown(panel_bytes / (rows_ * tensor->element_bytes), kStripColumns);
  panel_columns_ = std::min(columns_, std::max(fitting, kStripColumns));
}

Status ColumnReader::Read(uint64_t column, std::span<float> into) {
  GLINT_CHECK(column < columns_ && into.size() == rows_);
  if (column < panel_first_ || column >= panel_first_ + panel_count_) {
    GLINT_RETURN_IF_ERROR(LoadPanel(column / panel_columns_ * panel_columns_));
  }
  if (column < strip_first_ || column >= strip_first_ + strip_count_) {
    LoadStrip(column / kStripColumns * kStripColumns);
  }
  const float* from = strip_.data() + (column - strip_first_) * rows_;
  std::copy_n(from, rows_, into.begin());
  if (AllFinite(into)) return Status::Ok();
  const auto bad = std::find_if(into.begin(), into.end(), [](float value) { return !std::isfinite(value); });
  return NotFinite(*checkpoint_, *tensor_, static_cast<uint64_t>(bad - into.begin()), column, *bad);
}

Status ColumnReader::LoadPanel(uint64_t first) {
  panel_count_ = strip_count_ = 0;
  const uint64_t count = std::min(panel_columns_, columns_ - first);
  const uint64_t piece_bytes = count * tensor_->element_bytes;
  const FlashFile& file = checkpoint_->FileOf(*tensor_);
  panel_.resize(rows_ * piece_bytes);
  if (count == columns_) {
    GLINT_RETURN_IF_ERROR(file.ReadBuffered(tensor_->extent.offset, panel_));
  } else {
    for (uint64_t row = 0; row < rows_; ++row) {
      const uint64_t offset = tensor_->extent.offset + (row * columns_ + first) * tensor_->element_bytes;
      GLINT_RETURN_IF_ERROR(file.ReadBuffered(offset, std::span(panel_).subspan(row * piece_bytes, piece_bytes)));
    }
  }
  panel_first_ = first;
  panel_count_ = count;
  return Status::Ok();
}

// REQUIRES: the panel holds column `first`, and whole strips of it.
void ColumnReader::LoadStrip(uint64_t first) {
  const uint64_t count = std::min(kStripColumns, panel_first_ + panel_count_ - first);
  strip_.resize(kStripColumns * rows_);
  for (uint64_t row = 0; row < rows_; ++row) {
    const std::byte* from = panel_.data() + (row * panel_count_ + first - panel_first_) * tensor_->element_bytes;
    for (uint64_t i = 0; i < count; ++i) {
      strip_[i * rows_ + row] = LoadElement(tensor_->type, from + i * tensor_->element_bytes);
    }
  }
  strip_first_ = first;
  strip_count_ = count;
}

}  // namespace glint
