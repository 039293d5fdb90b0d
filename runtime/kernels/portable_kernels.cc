// The reference for every other table: the contract written down as plain loops.
#include <cmath>
#include <cstring>

#include "glint/base/float16.h"
#include "runtime/kernels/kernels.h"

namespace glint {
namespace {

constexpr uint32_t kLanes = 16;

float HalfAt(const std::byte* halves, uint64_t index) {
  uint16_t bits = 0;
  std::memcpy(&bits, halves + index * sizeof(bits), sizeof(bits));
  return HalfToFloat(bits);
}

// One reader of elements per type: where a row's scales begin is found once, its values one by one.
template <WeightType kType>
class RowReader {
 public:
  RowReader(const std::byte* row, uint64_t columns) : row_(row), scales_(row + ScalesOffset(kType, columns)) {}

  // The integer of element i of block b. REQUIRES: a quantised type.
  int32_t Quant(uint64_t b, uint32_t i) const {
    if constexpr (kType == WeightType::kQ8_0) return static_cast<int8_t>(row_[b * kQuantBlock + i]);
    const auto byte = static_cast<uint32_t>(row_[b * (kQuantBlock / 2) + i % (kQuantBlock / 2)]);
    return static_cast<int32_t>(i < kQuantBlock / 2 ? byte & 0xFU : byte >> 4) - 8;
  }
  float Scale(uint64_t b) const { return HalfAt(scales_, b); }

  float Value(uint64_t i) const {
    if constexpr (kType == WeightType::kF32) {
      float value = 0;
      std::memcpy(&value, row_ + i * sizeof(value), sizeof(value));
      return value;
    } else if constexpr (kType == WeightType::kF16) {
      return HalfAt(row_, i);
    } else {
      return Scale(i / kQuantBlock) * static_cast<float>(Quant(i / kQuantBlock, i % kQuantBlock));
    }
  }

 private:
  const std::byte* row_;
  const std::byte* scales_;
};

float ReduceLanes(float (&lane)[kLanes]) {
  for (uint32_t width = kLanes / 2; width > 0; width /= 2) {
    for (uint32_t j = 0; j < width; ++j) lane[j] += lane[j + width];
  }
  return lane[0];
}

template <WeightType kType>
float DotRow(const std::byte* row, const Activations& x, uint32_t token) {
  const RowReader<kType> weights(row, x.columns);
  float lane[kLanes] = {};
  const uint64_t padded = PaddedColumns(kType, x.columns);
  if constexpr (IsQuantized(kType)) {
    const int8_t* quants = x.quants + token * x.stride;
    const float* scales = x.scales + token * (x.stride / kQuantBlock);
    for (uint64_t b = 0; b < padded / kQuantBlock; ++b) {
      const float scale = weights.Scale(b) * scales[b];
      for (uint32_t g = 0; g < 8; ++g) {
        int32_t sum = 0;
        for (uint32_t i = 4 * g; i < 4 * g + 4; ++i) sum += weights.Quant(b, i) * quants[b * kQuantBlock + i];
        float& target = lane[(b % 2) * 8 + g];
        target = std::fma(static_cast<float>(sum), scale, target);
      }
    }
  } else {
    const float* values = x.values + token * x.stride;
    for (uint64_t i = 0; i < padded; i += kLanes) {
      for (uint32_t j = 0; j < kLanes; ++j) lane[j] = std::fma(weights.Value(i + j), values[i + j], lane[j]);
    }
  }
  return ReduceLanes(lane);
}

template <WeightType kType>
void DotRowsOfType(const std::byte* const* rows, uint64_t row_count, const Activations& x, float* out,
                   uint64_t out_stride) {
  for (uint64_t r = 0; r < row_count; ++r) {
    for (uint32_t t = 0; t < x.token_count; ++t) out[t * out_stride + r] = DotRow<kType>(rows[r], x, t);
  }
}

template <WeightType kType>
void AddScaledRowsOfType(const std::byte* const* rows, const float* h, uint64_t row_count, uint64_t columns,
                         uint64_t begin, uint64_t end, float* y) {
  for (uint64_t r = 0; r < row_count; ++r) {
    const RowReader<kType> weights(rows[r], columns);
    for (uint64_t j = begin; j < end; ++j) y[j] = std::fma(h[r], weights.Value(j), y[j]);
  }
}

void DotRows(WeightType type, const std::byte* const* rows, uint64_t row_count, const Activations& x, float* out,
             uint64_t out_stride) {
  switch (type) {
    case WeightType::kF32: return DotRowsOfType<WeightType::kF32>(rows, row_count, x, out, out_stride);
    case WeightType::kF16: return DotRowsOfType<WeightType::kF16>(rows, row_count, x, out, out_stride);
    case WeightType::kQ8_0: return DotRowsOfType<WeightType::kQ8_0>(rows, row_count, x, out, out_stride);
    case WeightType::kQ4_0: return DotRowsOfType<WeightType::kQ4_0>(rows, row_count, x, out, out_stride);
  }
}

void AddScaledRows(WeightType type, const std::byte* const* rows, const float* h, uint64_t row_count, uint64_t columns,
                   uint64_t begin, uint64_t end, float* y) {
  switch (type) {
    case WeightType::kF32: return AddScaledRowsOfType<WeightType::kF32>(rows, h, row_count, columns, begin, end, y);
    case WeightType::kF16: return AddScaledRowsOfType<WeightType::kF16>(rows, h, row_count, columns, begin, end, y);
    case WeightType::kQ8_0: return AddScaledRowsOfType<WeightType::kQ8_0>(rows, h, row_count, columns, begin, end, y);
    case WeightType::kQ4_0: return AddScaledRowsOfType<WeightType::kQ4_0>(rows, h, row_count, columns, begin, end, y);
  }
}

void ExpMinus(float* values, uint64_t count, float maximum) {
  for (uint64_t i = 0; i < count; ++i) values[i] = Exp(values[i] - maximum);
}

}  // namespace

const Kernels& PortableKernels() {
  static constexpr Kernels kTable = {"portable", DotRows, AddScaledRows, ExpMinus};
  return kTable;
}

}  // namespace glint
