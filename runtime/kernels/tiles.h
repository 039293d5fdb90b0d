// Cuts a product of rows and tokens into tiles that fit the registers. Tiling shares loads, and nothing else: each
// (row, token) has its own lanes, so that the cut never shows in the bits.
//
// A tile reads several rows side by side, which the processor's own prefetch does not follow well. So a tile that is
// read once (one token, or a scaled sum) first asks for the rows of the next one, each in the order of its addresses:
// from memory that made reading nearly twice as fast.
#ifndef GLINT_RUNTIME_KERNELS_TILES_H_
#define GLINT_RUNTIME_KERNELS_TILES_H_

#include <cstdint>

#include "runtime/kernels/kernels.h"

namespace glint {

// Where a tile's dots come from and go to.
struct DotTile {
  const std::byte* const* rows;
  const Activations* x;
  uint32_t token;  // the first
  float* out;      // of the first row and token
  uint64_t out_stride;
};

// `Isa` is a type of the including file's anonymous namespace, which gives these templates internal linkage: code made
// for one instruction set must not be merged with another's. It has
//   template <WeightType kType, int kRows, int kTokens> static void Dot(const DotTile&);
//   template <WeightType kType, int kRows> static void AddScaled(rows, h, columns, begin, end, y);
//   kRowsAlone (a power of two >= 4): rows per tile of a single token; kRowsAdded (a power of two).
// Tiles are at most 4 rows by 4 tokens otherwise.
template <class Isa>
struct Tiles {
  // Asks for columns [begin, end) of `count` rows, and for their scales.
  template <WeightType kType>
  static void FetchRows(const std::byte* const* rows, int count, uint64_t columns, uint64_t begin, uint64_t end) {
    constexpr uint64_t kBits = kType == WeightType::kF32    ? 32
                               : kType == WeightType::kF16  ? 16
                               : kType == WeightType::kQ8_0 ? 8
                                                            : 4;
    constexpr bool kHasScales = kBits <= 8;
    const uint64_t scales = (columns + 63) / 64 * 64 * kBits / 8;
    for (int r = 0; r < count; ++r) {
      FetchBytes(rows[r] + begin * kBits / 8, rows[r] + end * kBits / 8);
      if constexpr (kHasScales) FetchBytes(rows[r] + scales + begin / 16, rows[r] + scales + end / 16);
    }
  }
  static void FetchBytes(const std::byte* begin, const std::byte* end) {
    for (; begin < end; begin += 64) __builtin_prefetch(begin);
  }

  template <WeightType kType, int kRows>
  static void AllTokens(DotTile tile) {
    uint32_t left = tile.x->token_count;
    while (left > 0) {
      const uint32_t tokens = left >= 4 ? 4 : left >= 2 ? 2 : 1;
      switch (tokens) {
        case 4: Isa::template Dot<kType, kRows, 4>(tile); break;
        case 2: Isa::template Dot<kType, kRows, 2>(tile); break;
        default: Isa::template Dot<kType, kRows, 1>(tile); break;
      }
      tile.token += tokens;
      tile.out += tokens * tile.out_stride;
      left -= tokens;
    }
  }

  template <WeightType kType>
  static void DotRowsOfType(const std::byte* const* rows, uint64_t row_count, const Activations& x, float* out,
                            uint64_t out_stride) {
    uint64_t r = 0;
    if (x.token_count == 1) {
      for (; r + Isa::kRowsAlone <= row_count; r += Isa::kRowsAlone) {
        if (r + 2 * Isa::kRowsAlone <= row_count) {
          FetchRows<kType>(rows + r + Isa::kRowsAlone, Isa::kRowsAlone, x.columns, 0, x.columns);
        }
        Isa::template Dot<kType, Isa::kRowsAlone, 1>({rows + r, &x, 0, out + r, out_stride});
      }
    }
    for (; r + 4 <= row_count; r += 4) AllTokens<kType, 4>({rows + r, &x, 0, out + r, out_stride});
    for (; r < row_count; ++r) AllTokens<kType, 1>({rows + r, &x, 0, out + r, out_stride});
  }

  template <WeightType kType>
  static void AddScaledOfType(const std::byte* const* rows, const float* h, uint64_t row_count, uint64_t columns,
                              uint64_t begin, uint64_t end, float* y) {
    uint64_t r = 0;
    for (; r + Isa::kRowsAdded <= row_count; r += Isa::kRowsAdded) {
      if (r + 2 * Isa::kRowsAdded <= row_count) {
        FetchRows<kType>(rows + r + Isa::kRowsAdded, Isa::kRowsAdded, columns, begin, end);
      }
      Isa::template AddScaled<kType, Isa::kRowsAdded>(rows + r, h + r, columns, begin, end, y);
    }
    for (; r < row_count; ++r) Isa::template AddScaled<kType, 1>(rows + r, h + r, columns, begin, end, y);
  }

  static void DotRows(WeightType type, const std::byte* const* rows, uint64_t row_count, const Activations& x,
                      float* out, uint64_t out_stride) {
    switch (type) {
      case WeightType::kF32: return DotRowsOfType<WeightType::kF32>(rows, row_count, x, out, out_stride);
      case WeightType::kF16: return DotRowsOfType<WeightType::kF16>(rows, row_count, x, out, out_stride);
      case WeightType::kQ8_0: return DotRowsOfType<WeightType::kQ8_0>(rows, row_count, x, out, out_stride);
      case WeightType::kQ4_0: return DotRowsOfType<WeightType::kQ4_0>(rows, row_count, x, out, out_stride);
    }
  }

  static void AddScaledRows(WeightType type, const std::byte* const* rows, const float* h, uint64_t row_count,
                            uint64_t columns, uint64_t begin, uint64_t end, float* y) {
    switch (type) {
      case WeightType::kF32: return AddScaledOfType<WeightType::kF32>(rows, h, row_count, columns, begin, end, y);
      case WeightType::kF16: return AddScaledOfType<WeightType::kF16>(rows, h, row_count, columns, begin, end, y);
      case WeightType::kQ8_0: return AddScaledOfType<WeightType::kQ8_0>(rows, h, row_count, columns, begin, end, y);
      case WeightType::kQ4_0: return AddScaledOfType<WeightType::kQ4_0>(rows, h, row_count, columns, begin, end, y);
    }
  }
};

}  // namespace glint

#endif  // GLINT_RUNTIME_KERNELS_TILES_H_
