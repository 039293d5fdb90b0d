// How a row of weights is stored: the values are GGML's (block scales and integers), their arrangement is ours.
//
//   f32, f16   the elements, zero-padded to a multiple of 16
//   q8_0       int8 q[blocks * 32], then half d[blocks];            element = d * q                (blocks of 32)
//   q4_0       uint8 q[blocks * 16], then half d[blocks];           element = d * (nibble - 8)
//              byte j of a block holds element j in its low and element j + 16 in its high nibble
//
// Quantised rows are padded with zero elements to a multiple of 64 (an even number of blocks; a padded block has d =
// 0). A row's stride is its bytes rounded up to 64, the rest zero.
#ifndef GLINT_STORAGE_FORMAT_QUANT_H_
#define GLINT_STORAGE_FORMAT_QUANT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "glint/base/status.h"
#include "glint/base/units.h"

namespace glint {

enum class WeightType : uint8_t { kF32, kF16, kQ8_0, kQ4_0 };

inline constexpr uint32_t kQuantBlock = 32;
inline constexpr uint64_t kRowAlignment = 64;

// "f32", "f16", "q8_0", "q4_0", as on the command line and in the directory.
std::string_view WeightTypeName(WeightType type);
std::optional<WeightType> WeightTypeFromName(std::string_view name);

constexpr bool IsQuantized(WeightType type) { return type == WeightType::kQ8_0 || type == WeightType::kQ4_0; }

// Elements of a stored row of `columns` elements, padding included: what kernels run over.
constexpr uint64_t PaddedColumns(WeightType type, uint64_t columns) {
  return AlignUp(columns, IsQuantized(type) ? 64 : 16);
}

// Bytes of a stored row without the padding to its stride. 2 bytes of scale per block follow the integers.
constexpr uint64_t RowBytes(WeightType type, uint64_t columns) {
  const uint64_t padded = PaddedColumns(type, columns);
  switch (type) {
    case WeightType::kF32: return padded * 4;
    case WeightType::kF16: return padded * 2;
    case WeightType::kQ8_0: return padded + padded / kQuantBlock * 2;
    case WeightType::kQ4_0: return padded / 2 + padded / kQuantBlock * 2;
  }
  return 0;
}
constexpr uint64_t RowStride(WeightType type, uint64_t columns) {
  return AlignUp(RowBytes(type, columns), kRowAlignment);
}

// Where a quantised row's scales begin.
constexpr uint64_t ScalesOffset(WeightType type, uint64_t columns) {
  const uint64_t padded = PaddedColumns(type, columns);
  return type == WeightType::kQ4_0 ? padded / 2 : padded;
}

// Stores `values` as one row; `row` is RowStride bytes. The block values equal GGML's quantize_row_q8_0_ref and
// quantize_row_q4_0_ref. kInvalidArgument where a value is NaN, infinite, or too large for the type (names its index).
Status EncodeRow(WeightType type, std::span<const float> values, std::span<std::byte> row);

// The exact value of each element (a half times an int8 is exact in float). `values` is the unpadded row.
void DecodeRow(WeightType type, std::span<const std::byte> row, std::span<float> values);

}  // namespace glint

#endif  // GLINT_STORAGE_FORMAT_QUANT_H_
