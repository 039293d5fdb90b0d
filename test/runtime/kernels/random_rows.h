// Rows and activations for kernel tests: bits drawn directly, so that they hold what encoding would never choose (-128,
// subnormal and negative scales, -0), in heap blocks of exactly their size, so that sanitizers see a read too far.
#ifndef GLINT_TEST_RUNTIME_KERNELS_RANDOM_ROWS_H_
#define GLINT_TEST_RUNTIME_KERNELS_RANDOM_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "runtime/kernels/kernels.h"

namespace glint::test {

class RandomRows {
 public:
  RandomRows(WeightType type, uint64_t row_count, uint64_t columns, std::mt19937_64& random)
      : type_(type), columns_(columns) {
    for (uint64_t r = 0; r < row_count; ++r) {
      memory_.push_back(std::make_unique<std::byte[]>(RowBytes(type, columns)));
      std::byte* row = memory_.back().get();
      std::memset(row, 0, RowBytes(type, columns));
      for (uint64_t i = 0; i < columns; ++i) DrawElement(row, i, random);
      for (uint64_t b = 0; IsQuantized(type) && b * kQuantBlock < columns; ++b) {
        const uint16_t half = DrawHalf(random);
        std::memcpy(row + ScalesOffset(type, columns) + 2 * b, &half, 2);
      }
      pointers_.push_back(row);
    }
  }

  const std::byte* const* rows() const { return pointers_.data(); }
  std::vector<float> Decode(uint64_t row) const {
    std::vector<float> values(columns_);
    DecodeRow(type_, {pointers_[row], RowBytes(type_, columns_)}, values);
    return values;
  }

 private:
  // Any finite half of magnitude below 2; one in eight is subnormal or zero.
  static uint16_t DrawHalf(std::mt19937_64& random) {
    const auto bits = static_cast<uint16_t>(random());
    const auto exponent = static_cast<uint16_t>(random() % 8 == 0 ? 0 : 1 + random() % 15);
    return static_cast<uint16_t>((bits & 0x83FFU) | (exponent << 10));
  }

  void DrawElement(std::byte* row, uint64_t i, std::mt19937_64& random) const {
    const auto byte = static_cast<std::byte>(random() % 16 == 0 ? 0x80 : random());
    switch (type_) {
      case WeightType::kF32: {
        const float value = random() % 16 == 0 ? -1e-40F : std::normal_distribution<float>(0, 1)(random);
        std::memcpy(row + 4 * i, &value, 4);
        break;
      }
      case WeightType::kF16: {
        const uint16_t half = DrawHalf(random);
        std::memcpy(row + 2 * i, &half, 2);
        break;
      }
      case WeightType::kQ8_0: row[i] = byte; break;
      case WeightType::kQ4_0: row[i / kQuantBlock * 16 + i % 16] = byte; break;
    }
  }

  WeightType type_;
  uint64_t columns_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
  std::vector<const std::byte*> pointers_;
};

// Owns what Activations borrows: values from the normal distribution times `magnitude`, some of them a zero of either
// sign or subnormal.
class RandomActivations {
 public:
  RandomActivations(uint32_t token_count, uint64_t columns, float magnitude, std::mt19937_64& random) {
    const uint64_t stride = AlignUp(columns, 64);
    values_.resize(token_count * stride);
    quants_.resize(token_count * stride);
    scales_.resize(token_count * stride / 32);
    group_sums_.resize(token_count * stride / 4);
    std::normal_distribution<float> normal(0, 1);
    for (uint32_t t = 0; t < token_count; ++t) {
      for (uint64_t i = 0; i < columns; ++i) {
        const float special[] = {0.0F, -0.0F, 1e-40F};
        const uint64_t draw = random() % 32;
        values_[t * stride + i] = draw < 3 ? special[draw] : magnitude * normal(random);
      }
    }
    QuantizeActivations(values_.data(), token_count, stride, quants_.data(), scales_.data(), group_sums_.data());
    view_ = {token_count, columns, stride, values_.data(), quants_.data(), scales_.data(), group_sums_.data()};
  }

  const Activations& view() const { return view_; }
  // What a kernel for rows of `type` sees at this place.
  double SeenBy(WeightType type, uint32_t token, uint64_t column) const {
    const uint64_t i = token * view_.stride + column;
    if (!IsQuantized(type)) return values_[i];
    return static_cast<double>(scales_[i / kQuantBlock]) * quants_[i];
  }

 private:
  std::vector<float> values_;
  std::vector<int8_t> quants_;
  std::vector<float> scales_;
  std::vector<int32_t> group_sums_;
  Activations view_;
};

}  // namespace glint::test

#endif  // GLINT_TEST_RUNTIME_KERNELS_RANDOM_ROWS_H_
