#include "storage/format/quant.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "glint/base/check.h"
#include "glint/base/float16.h"
#include "glint/base/text.h"

namespace glint {
namespace {

// The least magnitude that a half rounds to infinity, halfway between 65504 and the next power of two.
constexpr float kHalfOverflow = 65520.0F;

bool IsFinite(float value) { return (std::bit_cast<uint32_t>(value) & 0x7F800000U) != 0x7F800000U; }

// Ok where every value is finite and below `limit` in magnitude.
Status CheckValues(WeightType type, std::span<const float> values, float limit) {
  bool good = true;
  for (const float value : values) good &= std::fabs(value) < limit;  // false for NaN too
  if (good) return Status::Ok();
  for (size_t i = 0; i < values.size(); ++i) {
    if (!IsFinite(values[i])) {
      return InvalidArgument(Concat("element ", i, " is ", values[i], "; weights must be finite"));
    }
    if (!(std::fabs(values[i]) < limit)) {
      return InvalidArgument(Concat("element ", i, " is ", values[i], ", too large for ", WeightTypeName(type),
                                    "; its magnitude must be below ", limit));
    }
  }
  return Status::Ok();
}

void StoreHalf(float value, std::byte* to) {
  const uint16_t half = FloatToHalf(value);
  std::memcpy(to, &half, sizeof half);
}

float LoadHalf(const std::byte* from) {
  uint16_t half;
  std::memcpy(&half, from, sizeof half);
  return HalfToFloat(half);
}

// 1 / d, or 0 where that is no number. GGML leaves an infinite inverse undefined; such a d is 0 as a half, so that the
// block decodes to zeros in any case.
float InverseScale(float d) {
  const float inverse = d == 0.0F ? 0.0F : 1.0F / d;
  return IsFinite(inverse) ? inverse : 0.0F;
}

// The scale is stored as half, but the integers come from the scale before that rounding, as in GGML.
void EncodeBlockQ8(const float* x, int8_t* q, std::byte* scale) {
  float largest = 0.0F;
  for (uint32_t j = 0; j < kQuantBlock; ++j) largest = std::max(largest, std::fabs(x[j]));
  const float d = largest / 127.0F;
  const float inverse = InverseScale(d);
  for (uint32_t j = 0; j < kQuantBlock; ++j) {
    const float scaled = x[j] * inverse;
    // roundf (halves away from zero) without a library call: the sum is exact in double where it matters.
    q[j] = static_cast<int8_t>(static_cast<int32_t>(static_cast<double>(scaled) + std::copysign(0.5, scaled)));
  }
  StoreHalf(d, scale);
}

void EncodeBlockQ4(const float* x, uint8_t* q, std::byte* scale) {
  float largest = 0.0F;  // in magnitude, the first of equals
  float extreme = 0.0F;  // the same with its sign
  for (uint32_t j = 0; j < kQuantBlock; ++j) {
    const float magnitude = std::fabs(x[j]);
    if (largest < magnitude) {
      largest = magnitude;
      extreme = x[j];
    }
  }
  const float d = extreme / -8.0F;
  const double inverse = InverseScale(d);
  // GGML's `x * id + 8.5f` is contracted to a fused multiply-add where the compiler may. We take that meaning on every
  // machine, as the gguf package does: the product is exact in double.
  const auto nibble = [inverse](float value) {
    const auto shifted = static_cast<float>(static_cast<double>(value) * inverse + 8.5);
    return static_cast<uint8_t>(std::min(15, static_cast<int>(shifted)));
  };
  for (uint32_t j = 0; j < kQuantBlock / 2; ++j) {
    q[j] = static_cast<uint8_t>(nibble(x[j]) | (nibble(x[j + kQuantBlock / 2]) << 4));
  }
  StoreHalf(d, scale);
}

void EncodeQuantized(WeightType type, std::span<const float> values, std::span<std::byte> row) {
  const bool q8 = type == WeightType::kQ8_0;
  std::byte* scales = row.data() + ScalesOffset(type, values.size());
  for (size_t begin = 0, block = 0; begin < values.size(); begin += kQuantBlock, ++block) {
    float padded[kQuantBlock];
    const float* x = values.data() + begin;
    if (const size_t left = values.size() - begin; left < kQuantBlock) {
      std::fill(std::copy_n(x, left, padded), std::end(padded), 0.0F);
      x = padded;
    }
    std::byte* q = row.data() + block * (q8 ? kQuantBlock : kQuantBlock / 2);
    if (q8) {
      EncodeBlockQ8(x, reinterpret_cast<int8_t*>(q), scales + block * 2);
    } else {
      EncodeBlockQ4(x, reinterpret_cast<uint8_t*>(q), scales + block * 2);
    }
  }
}

}  // namespace

std::string_view WeightTypeName(WeightType type) {
  switch (type) {
    case WeightType::kF32: return "f32";
    case WeightType::kF16: return "f16";
    case WeightType::kQ8_0: return "q8_0";
    case WeightType::kQ4_0: return "q4_0";
  }
  return "unknown";
}

std::optional<WeightType> WeightTypeFromName(std::string_view name) {
  for (const WeightType type : {WeightType::kF32, WeightType::kF16, WeightType::kQ8_0, WeightType::kQ4_0}) {
    if (name == WeightTypeName(type)) return type;
  }
  return std::nullopt;
}

Status EncodeRow(WeightType type, std::span<const float> values, std::span<std::byte> row) {
  GLINT_CHECK(row.size() == RowStride(type, values.size()));
  std::fill(row.begin(), row.end(), std::byte{0});
  switch (type) {
    case WeightType::kF32:
      GLINT_RETURN_IF_ERROR(CheckValues(type, values, HUGE_VALF));
      if (!values.empty()) std::memcpy(row.data(), values.data(), values.size_bytes());
      break;
    case WeightType::kF16:
      GLINT_RETURN_IF_ERROR(CheckValues(type, values, kHalfOverflow));
      for (size_t i = 0; i < values.size(); ++i) StoreHalf(values[i], row.data() + 2 * i);
      break;
    case WeightType::kQ8_0:
      GLINT_RETURN_IF_ERROR(CheckValues(type, values, kHalfOverflow * 127.0F));
      EncodeQuantized(type, values, row);
      break;
    case WeightType::kQ4_0:
      GLINT_RETURN_IF_ERROR(CheckValues(type, values, kHalfOverflow * 8.0F));
      EncodeQuantized(type, values, row);
      break;
  }
  return Status::Ok();
}

void DecodeRow(WeightType type, std::span<const std::byte> row, std::span<float> values) {
  GLINT_CHECK(row.size() >= RowBytes(type, values.size()));
  const std::byte* scales = row.data() + (IsQuantized(type) ? ScalesOffset(type, values.size()) : 0);
  switch (type) {
    case WeightType::kF32:
      if (!values.empty()) std::memcpy(values.data(), row.data(), values.size_bytes());
      break;
    case WeightType::kF16:
      for (size_t i = 0; i < values.size(); ++i) values[i] = LoadHalf(row.data() + 2 * i);
      break;
    case WeightType::kQ8_0:
      for (size_t i = 0; i < values.size(); ++i) {
        const auto q = static_cast<int8_t>(row[i]);
        values[i] = LoadHalf(scales + i / kQuantBlock * 2) * static_cast<float>(q);
      }
      break;
    case WeightType::kQ4_0:
      for (size_t i = 0; i < values.size(); ++i) {
        const size_t block = i / kQuantBlock;
        const size_t place = i % kQuantBlock;
        const auto pair = static_cast<uint8_t>(row[block * (kQuantBlock / 2) + place % (kQuantBlock / 2)]);
        const int nibble = place < kQuantBlock / 2 ? pair & 0xF : pair >> 4;
        values[i] = LoadHalf(scales + block * 2) * static_cast<float>(nibble - 8);
      }
      break;
  }
}

}  // namespace glint
