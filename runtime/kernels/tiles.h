// Cuts a product of rows and tokens into tiles that fit the registers. Tiling shares loads, and nothing else: each
// (row, token) has its own lanes, so that the cut never shows in the bits.
//
// Rows are often short and far apart, where the processor's own prefetch does not help: a tile that is read once (one
// token, or a scaled sum) asks for the rows of the next one while it computes.
#ifndef GLINT_RUNTIME_KERNELS_TILES_H_
#define GLINT_RUNTIME_KERNELS_TILES_H_

#include <cstdint>

#include "runtime/kernels/kernels.h"

namespace glint {

// Where a tile's dots come from and go to.
struct DotTile {
  const std::byte* const* rows;
  const std::byte* const* next_rows;  // as many, to be fetched meanwhile; `rows` where there are none
  const Activations* x;
  uint32_t token;  // the first
  float* out;      // of the first row and token
  uint64_t out_stride;
};

// `Isa` is a type of the including file's anonymous namespace, which gives these templates internal linkage: code made
// for one instruction set must not be merged with another's. It has
//   template <WeightType kType, int kRows, int kTokens> static void Dot(const DotTile&);
//   template <WeightType kType, int kRows> static void AddScaled(rows, next_rows, h, columns, begin, end, y);
//   kRowsAlone (a power of two >= 4): rows per tile of a single token; kRowsAdded (a power of two).
// Tiles are at most 4 rows by 4 tokens otherwise.
template <class Isa>
struct Tiles {
  static const std::byte* const* NextRows(const std::byte* const* rows, uint64_t r, uint64_t step, uint64_t row_count) {
    return r + 2 * step <= row_count ? rows + r + step : rows + r;
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
        const auto* next_rows = NextRows(rows, r, Isa::kRowsAlone, row_count);
        Isa::template Dot<kType, Isa::kRowsAlone, 1>({rows + r, next_rows, &x, 0, out + r, out_stride});
      }
    }
    for (; r + 4 <= row_count; r += 4) AllTokens<kType, 4>({rows + r, rows + r, &x, 0, out + r, out_stride});
    for (; r < row_count; ++r) AllTokens<kType, 1>({rows + r, rows + r, &x, 0, out + r, out_stride});
  }

  template <WeightType kType>
  static void AddScaledOfType(const std::byte* const* rows, const float* h, uint64_t row_count, uint64_t columns,
                              uint64_t begin, uint64_t end, float* y) {
    uint64_t r = 0;
    for (; r + Isa::kRowsAdded <= row_count; r += Isa::kRowsAdded) {
      const auto* next_rows = NextRows(rows, r, Isa::kRowsAdded, row_count);
      Isa::template AddScaled<kType, Isa::kRowsAdded>(rows + r, next_rows, h + r, columns, begin, end, y);
    }
    for (; r < row_count; ++r) Isa::template AddScaled<kType, 1>(rows + r, rows + r, h + r, columns, begin, end, y);
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
